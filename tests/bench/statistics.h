// What is said about samples.
#pragma once

#include <span>
#include <vector>

namespace ckpt::bench {

// Nearest-rank quantile, 0 < fraction <= 1; NaN without samples.
double quantile(std::span<const double> samples, double fraction);
double median(std::span<const double> samples);
double largest(std::span<const double> samples);

struct Interval {
  double middle = 0, low = 0, high = 0;
};

// Mean of the samples with its confidence interval (95 %, Student's t).
Interval mean_with_confidence(std::span<const double> samples);

}  // namespace ckpt::bench
