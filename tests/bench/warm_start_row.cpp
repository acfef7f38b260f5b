#include <fcntl.h>
#include <fmt/format.h>

#include <array>
#include <bit>

#include "base/error.h"
#include "base/file_io.h"
#include "child_run.h"
#include "rows.h"
#include "statistics.h"

namespace ckpt::bench {
namespace {

constexpr const char* kName = "warm";
constexpr const char* kTexts = "800";
constexpr const char* kRevisions = "2";  // together two seconds on an idle machine with two processors

// The file through which WarmsUp is asked.
class Questions {
 public:
  explicit Questions(const std::string& path) : path_(path) { ask(); }
  void ask() {
    static_assert(std::endian::native == std::endian::little);
    ++number_;
    UniqueFd file = open_or_throw(path_, O_WRONLY | O_CREAT, 0600);
    pwrite_all(file.get(), std::as_bytes(std::span(&number_, 1)), 0, path_);
  }
  std::string answer() const { return fmt::format("answer {}", number_); }

 private:
  std::string path_;
  std::uint32_t number_ = 0;
};

}  // namespace

void measure_warm_start(const Settings& settings, Report& report, const char* row) {
  const std::string path = settings.directory + "/question";
  const std::vector<std::string> command{"/usr/bin/java", "-Xmx256m", "-cp",      CKPT_BENCH_CLASSES,
                                         "WarmsUp",       kTexts,     kRevisions, path};
  Questions questions(path);
  std::vector<double> cold_ms;
  std::vector<double> warm_ms;
  for (unsigned i = 0; i < settings.runs; ++i) {
    questions.ask();
    ChildRun cold(command, settings.directory + "/cold.err");
    cold_ms.push_back(milliseconds(cold.wait_for_line(questions.answer()).when - cold.started()));
  }
  {
    SupervisedRun run(settings, kName, {}, command);
    run.child().wait_for_line(questions.answer());
    run.checkpoint();
    run.kill();
  }
  std::string messages;
  for (unsigned i = 0; i < settings.runs; ++i) {
    questions.ask();
    SupervisedRun run(settings, kName, {});
    warm_ms.push_back(
        milliseconds(run.child().wait_for_line(questions.answer()).when - run.child().started()));
    messages = run.error_output();
    run.kill();
  }
  store::Store::open(store_of(settings), false).remove_application(kName);
  report.add({.row = row,
              .what = fmt::format("first answer, cold {:.0f} ms / resumed {:.0f} ms, medians",
                                  median(cold_ms), median(warm_ms)),
              .measured = median(cold_ms) / median(warm_ms),
              .unit = "x",
              .kind = Bound::kAtLeast,
              .bound = 20,
              .details = {{"cold_ms", cold_ms}, {"resumed_ms", warm_ms}, {"messages", messages}}});
}

}  // namespace ckpt::bench
