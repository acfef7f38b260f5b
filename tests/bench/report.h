// Collects results, prints each as a line of the table when it is there, and all of them as JSON.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace ckpt::bench {

enum class Bound { kAtMost, kAtLeast, kNone };

struct Result {
  std::string row;
  std::string what;
  double measured = 0;
  std::string unit;
  Bound kind = Bound::kNone;
  double bound = 0;
  nlohmann::json details = nlohmann::json::object();  // samples and stages
};

class Report {
 public:
  void heading() const;
  void add(Result result);
  void note(const std::string& row, const std::string& text);
  nlohmann::json json() const;

 private:
  std::vector<Result> results_;
  std::vector<nlohmann::json> notes_;
};

}  // namespace ckpt::bench
