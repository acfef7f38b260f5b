#include "statistics.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

namespace ckpt::bench {
namespace {

// Two-sided 95 % quantiles of Student's t for 1 to 30 degrees of freedom.
constexpr std::array<double, 30> kStudent{
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120,  2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042};

double student(std::size_t degrees) {
  if (degrees <= kStudent.size()) return kStudent[degrees - 1];
  return 1.96 + 2.4 / static_cast<double>(degrees);  // within 0.003 of the table
}

}  // namespace

double quantile(std::span<const double> samples, double fraction) {
  if (samples.empty()) return std::numeric_limits<double>::quiet_NaN();
  std::vector<double> sorted(samples.begin(), samples.end());
  std::ranges::sort(sorted);
  const double rank = std::ceil(fraction * static_cast<double>(sorted.size()));
  return sorted[static_cast<std::size_t>(std::max(rank, 1.0)) - 1];
}

double median(std::span<const double> samples) { return quantile(samples, 0.5); }
double largest(std::span<const double> samples) { return quantile(samples, 1.0); }

Interval mean_with_confidence(std::span<const double> samples) {
  const auto count = static_cast<double>(samples.size());
  const double mean = std::accumulate(samples.begin(), samples.end(), 0.0) / count;
  if (samples.size() < 2) {
    const double infinity = std::numeric_limits<double>::infinity();
    return {.middle = mean, .low = -infinity, .high = infinity};
  }
  double squares = 0;
  for (double sample : samples) squares += (sample - mean) * (sample - mean);
  const double half = student(samples.size() - 1) * std::sqrt(squares / (count - 1) / count);
  return {.middle = mean, .low = mean - half, .high = mean + half};
}

}  // namespace ckpt::bench
