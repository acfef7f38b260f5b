import java.io.File;
import java.util.Arrays;

/**
 * A fixed amount of work for a processor, with memory that changes a little meanwhile; arguments and output as those of
 * works_in_python.py.
 */
public final class WorksInJava {
  private static final int PAGE_LONGS = 512;
  private static final int MIB_LONGS = 131072;
  private static final int UNIT_STEPS = 200_000;
  private static final int WARM_UP_UNITS = 300;
  private static final long STRIDE = 40503; // odd, so that pages are scattered

  private static long work(long seed, int[] counts) {
    Arrays.fill(counts, 0);
    long value = seed;
    for (int i = 0; i < UNIT_STEPS; i++) {
      value = (value * 1103515245 + 12345) % 2147483648L;
      counts[(int) (value % 1009)]++;
    }
    long sum = 0;
    for (int key = 0; key < counts.length; key++) sum += (long) key * counts[key];
    return sum;
  }

  private static long[][] fill(int mib) {
    long[][] memory = new long[mib][MIB_LONGS];
    long value = 88172645463325252L;
    for (long[] part : memory) {
      for (int i = 0; i < part.length; i++) {
        value ^= value << 13;
        value ^= value >>> 7;
        value ^= value << 17;
        part[i] = value;
      }
    }
    return memory;
  }

  public static void main(String[] arguments) throws InterruptedException {
    int units = Integer.parseInt(arguments[0]);
    int residentMib = Integer.parseInt(arguments[1]);
    long dirtyMib = Long.parseLong(arguments[2]);
    File goFile = new File(arguments[3]);
    long[][] memory = fill(residentMib);
    long pageCount = residentMib * 256L;
    int[] counts = new int[1009];
    long sum = 0;
    for (int unit = 0; unit < WARM_UP_UNITS; unit++) sum += work(unit, counts);
    System.out.println("ready " + sum);
    while (!goFile.exists()) Thread.sleep(5);
    long begin = System.nanoTime();
    long dirtied = 0;
    for (int unit = 0; unit < units; unit++) {
      sum += work(unit, counts);
      long due = pageCount == 0 ? 0 : (long) ((System.nanoTime() - begin) / 1e9 * dirtyMib * 256);
      for (; dirtied < due; dirtied++) {
        long page = dirtied * STRIDE % pageCount;
        memory[(int) (page / 256)][(int) (page % 256) * PAGE_LONGS]++;
      }
    }
    System.out.println("worked " + (System.nanoTime() - begin) / 1e9 + " sum " + sum);
  }
}
