#include "engine/tracee/remote_queries.h"

#include <fmt/format.h>

#include <utility>

#include "base/error.h"

namespace ckpt::engine {
namespace {

constexpr std::size_t kAlignment = 16;

constexpr std::size_t aligned(std::size_t bytes) { return (bytes + kAlignment - 1) & ~(kAlignment - 1); }

}  // namespace

void RemoteQueries::ask(long number, Arguments arguments, std::function<void(std::int64_t)> then,
                        std::size_t answer_bytes) {
  add({.answer_bytes = answer_bytes,
       .then = [then = std::move(then)](std::int64_t result, std::span<const std::byte>) { then(result); }},
      number, arguments);
}

void RemoteQueries::expect(const char* attempt, long number, Arguments arguments,
                           std::function<void(std::int64_t)> then) {
  add({.attempt = attempt,
       .then = [then = std::move(then)](std::int64_t result, std::span<const std::byte>) { then(result); }},
      number, arguments);
}

void RemoteQueries::add(Query query, long number, Arguments arguments) {
  RemoteCall call{.number = number, .arguments = {}, .result = 0};
  std::size_t index = 0;
  for (const QueryArgument& argument : arguments) {
    call.arguments.at(index) = argument.value;
    if (argument.is_answer) answer_arguments_.emplace_back(calls_.size(), index);
    ++index;
  }
  answer_bytes_ += aligned(query.answer_bytes);
  queries_.push_back(std::move(query));
  calls_.push_back(call);
}

// Returns where the next thread's answers begin.
std::size_t RemoteQueries::place_answers(std::size_t offset, RemoteAddr scratch) {
  for (Query& query : queries_) {
    query.answer_offset = offset;
    offset += aligned(query.answer_bytes);
  }
  for (auto [call, argument] : answer_arguments_) {
    calls_[call].arguments.at(argument) = (scratch + queries_[call].answer_offset).value;
  }
  return offset;
}

void RemoteQueries::deliver(std::span<const std::byte> answers) const {
  for (std::size_t i = 0; i < queries_.size(); ++i) {
    const Query& query = queries_[i];
    std::int64_t result = calls_[i].result;
    if (query.attempt != nullptr && result < 0) {
      throw_errno(fmt::format("{} in thread {}", query.attempt, thread_->tid), static_cast<int>(-result));
    }
    query.then(result, answers.subspan(query.answer_offset, query.answer_bytes));
  }
}

void RemoteQueries::run(Tracee& tracee, std::span<RemoteQueries> threads) {
  QueriesUnderWay queries(tracee, threads);
  queries.begin();
  queries.end();
}

QueriesUnderWay::QueriesUnderWay(Tracee& tracee, std::span<RemoteQueries> threads)
    : tracee_(tracee), rest_(threads) {}

QueriesUnderWay::~QueriesUnderWay() {
  if (!begun_) return;
  try {
    tracee_.end_syscalls();  // whose results nobody wants
  } catch (const Error&) {
    // It was killed.
  }
}

std::span<RemoteQueries> QueriesUnderWay::next_part() const {
  std::size_t count = 0;
  for (std::size_t size = 0; count < rest_.size(); ++count) {
    size += rest_[count].answer_bytes_;
    if (size > Tracee::kScratchBytes && count > 0) break;
  }
  return rest_.first(count);
}

void QueriesUnderWay::begin() {
  part_ = next_part();
  rest_ = rest_.subspan(part_.size());
  RemoteAddr scratch = tracee_.scratch();
  batch_.clear();
  batch_.reserve(part_.size());
  answer_bytes_ = 0;
  for (RemoteQueries& thread : part_) {
    answer_bytes_ = thread.place_answers(answer_bytes_, scratch);
    batch_.push_back({.thread = thread.thread_, .calls = thread.calls_});
  }
  begun_ = tracee_.begin_syscalls(batch_);
}

void QueriesUnderWay::await() {
  if (begun_) tracee_.await_syscalls();
}

void QueriesUnderWay::end() {
  for (;;) {
    if (std::exchange(begun_, false)) {
      tracee_.end_syscalls();
    } else {
      tracee_.remote_syscalls(batch_);
    }
    deliver();
    if (rest_.empty()) return;
    begin();
  }
}

void QueriesUnderWay::deliver() {
  std::vector<std::byte> answers(answer_bytes_);
  if (answer_bytes_ > 0) tracee_.read(tracee_.scratch(), answers);
  for (const RemoteQueries& thread : part_) thread.deliver(answers);
}

}  // namespace ckpt::engine
