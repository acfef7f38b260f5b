import java.io.IOException;
import java.io.RandomAccessFile;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * Answers questions about words, but only once it has built its index, as services do that load and compile before
 * they are of any use.
 *
 * <p>Arguments: the number of texts to index, how many revisions of them there are, of which only the last one counts,
 * and a file of at least four bytes whose first little-endian number is that of the question. Prints "answer N" for each
 * new number.
 */
public final class WarmsUp {
  private static final int WORDS_PER_TEXT = 2000;
  private static final int VOCABULARY = 20_000;

  private final Map<String, List<Integer>> textsOfWord = new HashMap<>();
  private final List<Map<String, Integer>> countsOfText = new ArrayList<>();

  private void clear() {
    textsOfWord.clear();
    countsOfText.clear();
  }

  private void index(int number, int revision) {
    StringBuilder text = new StringBuilder();
    long value = (number + 1L) * revision * 2862933555777941757L + 3037000493L;
    for (int i = 0; i < WORDS_PER_TEXT; i++) {
      value = value * 6364136223846793005L + 1442695040888963407L;
      text.append('w').append(Long.toString((value >>> 33) % VOCABULARY, 36)).append(' ');
    }
    Map<String, Integer> counts = new HashMap<>();
    for (String word : text.toString().split(" ")) counts.merge(word, 1, Integer::sum);
    for (String word : counts.keySet()) {
      textsOfWord.computeIfAbsent(word, unused -> new ArrayList<>()).add(number);
    }
    countsOfText.add(counts);
  }

  private long answer(int question) {
    String word = 'w' + Long.toString(question % VOCABULARY, 36);
    long found = 0;
    for (int text : textsOfWord.getOrDefault(word, List.of())) {
      found += countsOfText.get(text).getOrDefault(word, 0);
    }
    return found;
  }

  public static void main(String[] arguments) throws IOException, InterruptedException {
    WarmsUp service = new WarmsUp();
    int texts = Integer.parseInt(arguments[0]);
    int revisions = Integer.parseInt(arguments[1]);
    for (int revision = 1; revision <= revisions; revision++) {
      service.clear();
      for (int number = 0; number < texts; number++) service.index(number, revision);
    }
    RandomAccessFile questions = new RandomAccessFile(arguments[2], "r");
    for (int answered = 0; ; ) {
      questions.seek(0);
      int question = Integer.reverseBytes(questions.readInt());
      if (question == answered) {
        Thread.sleep(1);
        continue;
      }
      System.out.println("answer " + question + " is " + service.answer(question));
      answered = question;
    }
  }
}
