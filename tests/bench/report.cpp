#include "report.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdio>
#include <utility>

namespace ckpt::bench {
namespace {

bool reached(const Result& result) {
  return result.kind == Bound::kAtMost ? result.measured <= result.bound : result.measured >= result.bound;
}

std::string number(double value) { return fmt::format("{:.{}f}", value, std::abs(value) < 10 ? 3 : 1); }

std::string bound_text(const Result& result) {
  if (result.kind == Bound::kNone) return "";
  return fmt::format("{} {:g}", result.kind == Bound::kAtMost ? "<=" : ">=", result.bound);
}

}  // namespace

void Report::heading() const {
  fmt::print("{:<26} {:<58} {:>10} {:<6} {:>9} {:>7}\n", "row", "what", "measured", "unit", "bound", "ratio");
}

void Report::add(Result result) {
  std::string ratio;
  std::string verdict;
  if (result.kind != Bound::kNone) {
    ratio = fmt::format("{:.2f}", result.measured / result.bound);
    verdict = reached(result) ? "" : "  NOT REACHED";
  }
  fmt::print("{:<26} {:<58} {:>10} {:<6} {:>9} {:>7}{}\n", result.row, result.what, number(result.measured),
             result.unit, bound_text(result), ratio, verdict);
  std::fflush(stdout);
  results_.push_back(std::move(result));
}

void Report::note(const std::string& row, const std::string& text) {
  fmt::print("{:<26} {}\n", row, text);
  std::fflush(stdout);
  notes_.push_back({{"row", row}, {"note", text}});
}

nlohmann::json Report::json() const {
  nlohmann::json results = nlohmann::json::array();
  for (const Result& result : results_) {
    nlohmann::json entry{{"row", result.row},
                         {"what", result.what},
                         {"measured", result.measured},
                         {"unit", result.unit},
                         {"details", result.details}};
    if (result.kind != Bound::kNone) {
      entry["bound"] = result.bound;
      entry["bound_is"] = result.kind == Bound::kAtMost ? "at most" : "at least";
      entry["ratio"] = result.measured / result.bound;
      entry["reached"] = reached(result);
    }
    results.push_back(std::move(entry));
  }
  return {{"results", results}, {"notes", notes_}};
}

}  // namespace ckpt::bench
