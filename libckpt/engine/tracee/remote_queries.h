// What is to be learned from a stopped thread by system calls that it makes, all in one go.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <span>
#include <utility>
#include <vector>

#include "engine/tracee/tracee.h"

namespace ckpt::engine {

// An argument of a call: a number, or kAnswer, the address of memory that the call fills.
struct QueryArgument {
  constexpr QueryArgument(std::uint64_t number) : value(number) {}
  std::uint64_t value;
  bool is_answer = false;
};
inline constexpr QueryArgument kAnswer = [] {
  QueryArgument argument(0);
  argument.is_answer = true;
  return argument;
}();

class RemoteQueries {
 public:
  using Arguments = std::initializer_list<QueryArgument>;

  explicit RemoteQueries(StoppedThread& thread) : thread_(&thread) {}

  // `then` gets the kernel's value, negative errno on failure; `answer_bytes` is how much is written to
  // kAnswer, which nobody reads.
  void ask(long number, Arguments arguments, std::function<void(std::int64_t)> then,
           std::size_t answer_bytes = 0);

  // The same, but failure is an Error "<attempt> in thread N: <errno text>".
  void expect(const char* attempt, long number, Arguments arguments, std::function<void(std::int64_t)> then);

  // `then` gets what the call wrote to kAnswer; failure as above.
  template <typename Value>
  void fetch(const char* attempt, long number, Arguments arguments, std::function<void(const Value&)> then) {
    add({.attempt = attempt,
         .answer_bytes = sizeof(Value),
         .then =
             [then = std::move(then)](std::int64_t, std::span<const std::byte> answer) {
               Value value;
               std::memcpy(&value, answer.data(), sizeof(value));
               then(value);
             }},
        number, arguments);
  }

  // Has all of these make their calls, side by side, and then calls every `then`, in order. The scratch
  // area of `tracee` is overwritten.
  static void run(Tracee& tracee, std::span<RemoteQueries> threads);
  void run(Tracee& tracee) { run(tracee, std::span(this, 1)); }

 private:
  friend class QueriesUnderWay;

  struct Query {
    const char* attempt = nullptr;  // of a call that must not fail
    std::size_t answer_bytes = 0;
    std::size_t answer_offset = 0;  // in the scratch area
    std::function<void(std::int64_t, std::span<const std::byte>)> then{};
  };

  void add(Query query, long number, Arguments arguments);
  std::size_t place_answers(std::size_t offset, RemoteAddr scratch);
  void deliver(std::span<const std::byte> answers) const;

  StoppedThread* thread_;
  std::vector<Query> queries_;
  std::vector<RemoteCall> calls_;
  std::vector<std::pair<std::size_t, std::size_t>> answer_arguments_;  // call, argument
  std::size_t answer_bytes_ = 0;
};

// Queries of several threads of a process, in three steps, so that several processes can be asked side by
// side. What they make in one go is as in RemoteQueries::run().
class QueriesUnderWay {
 public:
  // All of them stay.
  QueriesUnderWay(Tracee& tracee, std::span<RemoteQueries> threads);
  ~QueriesUnderWay();
  QueriesUnderWay(const QueriesUnderWay&) = delete;
  QueriesUnderWay& operator=(const QueriesUnderWay&) = delete;

  void begin();  // returns at once
  void await();  // all answers are there
  void end();    // the threads stand still again, and everybody is told

 private:
  std::span<RemoteQueries> next_part() const;
  void deliver();

  Tracee& tracee_;
  std::span<RemoteQueries> rest_;
  std::span<RemoteQueries> part_ = {};  // that is under way, with as many answers as there is room for
  std::vector<ThreadCalls> batch_ = {};
  std::size_t answer_bytes_ = 0;
  bool begun_ = false;
};

}  // namespace ckpt::engine
