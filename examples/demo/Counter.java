import java.util.ArrayList;
import java.util.List;

/** Counts aloud, for ever. Nothing in it knows about checkpoints. */
public class Counter {
    public static void main(String[] args) throws InterruptedException {
        List<Long> numbers = new ArrayList<>();
        while (true) {
            numbers.add(numbers.size() + 1L);
            long sum = numbers.stream().mapToLong(Long::longValue).sum();
            if (sum != numbers.size() * (numbers.size() + 1L) / 2) {
                throw new IllegalStateException("memory came back wrong");
            }
            System.out.println(numbers.size());
            Thread.sleep(20);
        }
    }
}
