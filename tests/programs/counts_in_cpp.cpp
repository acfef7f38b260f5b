// C++ at work: exceptions thrown through threads, standard containers, streams and futures, checked on every
// round. Takes the go file. Prints "ready", then "count N" every round; when the go file exists, "ok" or what
// differs.
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <future>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr int kWorkers = 4;
constexpr int kEntries = 5000;

struct Difference : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Work passed between threads, answers and exceptions coming back.
class Worker {
 public:
  Worker() : thread_([this] { run(); }) {}
  ~Worker() {
    {
      std::lock_guard lock(mutex_);
      ended_ = true;
    }
    changed_.notify_one();
    thread_.join();
  }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  std::future<long> submit(long number) {
    std::packaged_task<long()> task([number] {
      if (number % 3 == 0) throw std::out_of_range("thrown for " + std::to_string(number));
      return number * number;
    });
    std::future<long> answer = task.get_future();
    {
      std::lock_guard lock(mutex_);
      tasks_.push_back(std::move(task));
    }
    changed_.notify_one();
    return answer;
  }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return ended_ || !tasks_.empty(); });
      if (tasks_.empty()) return;
      std::packaged_task<long()> task = std::move(tasks_.front());
      tasks_.erase(tasks_.begin());
      lock.unlock();
      task();
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::packaged_task<long()>> tasks_;
  bool ended_ = false;
  std::thread thread_;
};

struct Shape {
  virtual ~Shape() = default;
  virtual long area() const = 0;
};
struct Square : Shape {
  explicit Square(long side) : side_(side) {}
  long area() const override { return side_ * side_; }
  long side_;
};
struct Strip : Shape {
  explicit Strip(long length) : length_(length) {}
  long area() const override { return length_; }
  long length_;
};

void check_answer(std::future<long> answer, long number) {
  try {
    if (long result = answer.get(); number % 3 == 0 || result != number * number) {
      throw Difference("answer " + std::to_string(result) + " to " + std::to_string(number));
    }
  } catch (const std::out_of_range& thrown) {
    if (number % 3 != 0 || thrown.what() != "thrown for " + std::to_string(number))
      throw Difference(thrown.what());
  }
}

struct State {
  std::map<std::string, long> entries;
  std::vector<std::unique_ptr<Shape>> shapes;
  std::ostringstream text;
  long expected_area = 0;

  State() {
    for (long i = 0; i < kEntries; i++) {
      entries["entry " + std::to_string(i)] = i;
      if (i % 2 == 0) shapes.push_back(std::make_unique<Square>(i));
      if (i % 2 == 1) shapes.push_back(std::make_unique<Strip>(i));
      expected_area += i % 2 == 0 ? i * i : i;
    }
  }

  void check(long round) {
    text << round % 10;
    if (text.str().size() != static_cast<std::size_t>(round) + 1) throw Difference("length of the stream");
    long area = std::accumulate(shapes.begin(), shapes.end(), 0L,
                                [](long sum, const auto& shape) { return sum + shape->area(); });
    if (area != expected_area) throw Difference("area " + std::to_string(area));
    long sum = std::accumulate(entries.begin(), entries.end(), 0L,
                               [](long so_far, const auto& entry) { return so_far + entry.second; });
    if (sum != 1L * kEntries * (kEntries - 1) / 2) throw Difference("sum of the map " + std::to_string(sum));
  }
};

void count(const std::filesystem::path& go_file) {
  State state;
  std::vector<std::unique_ptr<Worker>> workers(kWorkers);
  for (auto& worker : workers) worker = std::make_unique<Worker>();
  std::cout << "ready" << std::endl;
  for (long round = 0; !std::filesystem::exists(go_file); round++) {
    state.check(round);
    std::vector<std::future<long>> answers;
    for (auto& worker : workers) answers.push_back(worker->submit(round));
    for (auto& answer : answers) check_answer(std::move(answer), round);
    std::cout << "count " << round << std::endl;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: " << argv[0] << " GO_FILE\n";
    return 2;
  }
  try {
    count(argv[1]);
  } catch (const std::exception& difference) {
    std::cout << difference.what() << std::endl;
    return 1;
  }
  std::cout << "ok" << std::endl;
  return 0;
}
