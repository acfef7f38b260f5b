// Counts in several threads with hot, compiled loops and a shared map, makes garbage, and checks all of it on every
// round. Takes the go file. Prints "ready", then "count N" every round; when the go file exists, "ok" or what differs.

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;

final class CountsInJava {
    private static final int WORKERS = 4;
    private static final int ENTRIES = 20_000;
    private static final int LOOP = 20_000;

    private static final ConcurrentHashMap<Integer, String> map = new ConcurrentHashMap<>();
    private static final AtomicLong mapWrites = new AtomicLong();
    private static volatile boolean finished;
    private static volatile String difference;

    private static void differs(String text) {
        difference = text;
    }

    // Hot enough to be compiled, and with a result that is known.
    private static long loop(long seed) {
        long x = seed;
        for (int i = 0; i < LOOP; i++) {
            x = x * 6364136223846793005L + 1442695040888963407L;
            x ^= x >>> 29;
        }
        return x;
    }

    private static final class Worker extends Thread {
        private final int number;
        private final long expected;
        private volatile long rounds;

        Worker(int number) {
            super("worker-" + number);
            this.number = number;
            this.expected = loop(number);
        }

        @Override
        public void run() {
            List<byte[]> garbage = new ArrayList<>();
            try {
                while (!finished && difference == null) {
                    for (int i = 0; i < 10; i++) {
                        if (loop(number) != expected) differs(getName() + ": checksum of the loop");
                    }
                    int key = (int) ((rounds * WORKERS + number) % ENTRIES);
                    String before = map.put(key, "entry " + key);
                    if (before == null || !before.equals("entry " + key)) differs("map entry " + key + ": " + before);
                    mapWrites.incrementAndGet();
                    garbage.add(new byte[1000]);
                    if (garbage.size() > 1000) garbage.clear();
                    long start = System.nanoTime();
                    Thread.sleep(5);
                    if (System.nanoTime() - start < 5_000_000) differs(getName() + ": sleep returned early");
                    rounds++;
                }
            } catch (InterruptedException interrupted) {
                differs(getName() + " was interrupted");
            }
        }
    }

    private static void checkMap() {
        if (map.size() != ENTRIES) differs("map of " + map.size() + " entries");
        for (int i = 0; i < ENTRIES; i++) {
            if (!("entry " + i).equals(map.get(i))) differs("map entry " + i + ": " + map.get(i));
        }
    }

    public static void main(String[] arguments) throws Exception {
        Path goFile = Path.of(arguments[0]);
        for (int i = 0; i < ENTRIES; i++) map.put(i, "entry " + i);
        Worker[] workers = new Worker[WORKERS];
        for (int i = 0; i < WORKERS; i++) {
            workers[i] = new Worker(i);
            workers[i].start();
        }
        System.out.println("ready");
        long count = 0;
        while (!Files.exists(goFile) && difference == null) {
            if (count % 20 == 0) checkMap();
            System.out.println("count " + count++);
            Thread.sleep(10);
        }
        finished = true;
        long rounds = 0;
        for (Worker worker : workers) {
            worker.join();
            rounds += worker.rounds;
        }
        checkMap();
        if (difference == null && rounds != mapWrites.get()) differs(rounds + " rounds, " + mapWrites + " writes");
        System.out.println(difference == null ? "ok" : difference);
        System.exit(difference == null ? 0 : 1);
    }
}
