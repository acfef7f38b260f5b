// What checkpoints and resumes cost, each number measured in this run. README.md beside this file says what
// the rows mean and how they are measured.
#include <CLI/CLI.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "base/duration.h"
#include "base/error.h"
#include "rows.h"
#include "support/temporary_directory.h"

namespace {

using ckpt::bench::Row;

struct Options {
  ckpt::bench::Settings settings;
  std::string base_directory = "/var/tmp";
  std::string interval = "250ms";
  std::string json_file;
  std::vector<std::string> rows;
  bool list = false;
};

void declare(CLI::App& app, Options& options) {
  app.add_option("--row", options.rows, "Only this row; may be repeated");
  app.add_flag("--list", options.list, "Name the rows");
  app.add_option("--runs", options.settings.runs, "Runs of each measurement (default 5)");
  app.add_option("--checkpoints", options.settings.checkpoints, "Checkpoints in each run (default 100)");
  app.add_option("--interval", options.interval, "Between their beginnings (default 250ms)");
  app.add_option("--pairs", options.settings.pairs, "With and without ckptrun (default 20)");
  app.add_option("--work-seconds", options.settings.work_seconds, "Of each half of a pair (default 4)");
  app.add_flag("--cold", options.settings.cold, "Drop segments from the page cache before each resume");
  app.add_option("--json", options.json_file, "Write all results there");
  app.add_option("--directory", options.base_directory,
                 "On the disk to measure; a directory is made in it and removed (default /var/tmp)");
  app.add_option("--ckptrun-option", options.settings.ckptrun_options,
                 "For every ckptrun that is started; may be repeated: --ckptrun-option=--mode=fork")
      ->allow_extra_args(false);
  app.add_option("--binaries", options.settings.binaries, "Directory of ckptrun")->default_val(CKPT_BINARIES);
  app.add_option("--programs", options.settings.programs, "Directory of dirties_memory")
      ->default_val(CKPT_PROGRAMS);
}

std::vector<Row> chosen_rows(const std::vector<std::string>& names) {
  std::vector<Row> chosen;
  for (const std::string& name : names) {
    auto found = std::ranges::find(ckpt::bench::all_rows(), name, &Row::name);
    if (found == ckpt::bench::all_rows().end())
      throw ckpt::Error("no row is called " + name + "; --list names them");
    chosen.push_back(*found);
  }
  if (names.empty()) chosen.assign(ckpt::bench::all_rows().begin(), ckpt::bench::all_rows().end());
  return chosen;
}

// A row that cannot be measured is reported, and the others still are.
bool measure(const std::vector<Row>& rows, const ckpt::bench::Settings& settings,
             ckpt::bench::Report& report) {
  bool all = true;
  for (const Row& row : rows) {
    try {
      row.measure(settings, report, row.name);
    } catch (const std::exception& error) {
      report.note(row.name, std::string("FAILED: ") + error.what());
      all = false;
    }
  }
  return all;
}

int run(Options& options) {
  if (options.list) {
    for (const Row& row : ckpt::bench::all_rows()) std::cout << row.name << ": " << row.what << '\n';
    return 0;
  }
  const std::vector<Row> rows = chosen_rows(options.rows);
  ckpt::tests::TemporaryDirectory directory(options.base_directory);
  options.settings.directory = directory.path();
  options.settings.interval = ckpt::parse_duration(options.interval);
  ckpt::bench::Report report;
  report.heading();
  const bool all = measure(rows, options.settings, report);
  if (!options.json_file.empty()) std::ofstream(options.json_file) << report.json().dump(2) << '\n';
  return all ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    CLI::App app("Measures what checkpoints and resumes cost.", "ckpt_bench");
    Options options;
    declare(app, options);
    CLI11_PARSE(app, argc, argv);
    return run(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "ckpt_bench: %s\n", error.what());
    return 1;
  }
}
