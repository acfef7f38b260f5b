import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintWriter;
import java.net.InetAddress;
import java.net.Socket;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;

/**
 * A server of lines (with a selector), and a client of one.
 *
 * "server": prints "port N", sends back what it receives. "client PORT": asks again and again; prints "answered"
 * whenever it has a new connection that works, "IOException" whenever one is lost, and connects anew.
 */
public final class TalksInJava {
  private TalksInJava() {}

  public static void main(String[] arguments) throws Exception {
    if (arguments[0].equals("server")) {
      serve();
    } else {
      for (;;) ask(Integer.parseInt(arguments[1]));
    }
  }

  private static void serve() throws IOException {
    Selector selector = Selector.open();
    ServerSocketChannel listener = ServerSocketChannel.open();
    listener.bind(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0));
    listener.configureBlocking(false);
    listener.register(selector, SelectionKey.OP_ACCEPT);
    System.out.println("port " + listener.socket().getLocalPort());
    for (;;) {
      selector.select();
      for (SelectionKey key : selector.selectedKeys()) handle(selector, key);
      selector.selectedKeys().clear();
    }
  }

  private static void handle(Selector selector, SelectionKey key) throws IOException {
    if (key.isAcceptable()) {
      SocketChannel accepted = ((ServerSocketChannel) key.channel()).accept();
      if (accepted == null) return;
      accepted.configureBlocking(false);
      accepted.register(selector, SelectionKey.OP_READ);
      return;
    }
    SocketChannel channel = (SocketChannel) key.channel();
    ByteBuffer buffer = ByteBuffer.allocate(4096);
    try {
      if (channel.read(buffer) < 0) throw new IOException("end");
      buffer.flip();
      while (buffer.hasRemaining()) channel.write(buffer);
    } catch (IOException lost) {
      System.out.println("IOException");
      channel.close();
    }
  }

  private static void ask(int port) throws InterruptedException {
    boolean told = false;
    try (Socket socket = new Socket(InetAddress.getLoopbackAddress(), port)) {
      PrintWriter out = new PrintWriter(socket.getOutputStream(), true);
      BufferedReader in = new BufferedReader(new InputStreamReader(socket.getInputStream()));
      for (;;) {
        out.println("question");
        String line = in.readLine();
        if (line == null) throw new IOException("end");
        if (!line.equals("question")) throw new AssertionError(line);
        if (!told) System.out.println("answered");
        told = true;
        Thread.sleep(5);
      }
    } catch (IOException lost) {
      if (told) System.out.println("IOException");
      Thread.sleep(20);
    }
  }
}
