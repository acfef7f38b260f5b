#include <fmt/format.h>

#include <cstdlib>
#include <fstream>

#include "base/error.h"
#include "base/file_io.h"
#include "child_run.h"
#include "rows.h"
#include "statistics.h"

namespace ckpt::bench {
namespace {

constexpr const char* kName = "repository";
constexpr const char* kPython = "/usr/bin/python3";
// What a script of some size imports.
const std::vector<std::string> kModules{
    "asyncio",         "ssl",           "email.mime.text", "http.server", "json",       "sqlite3", "unittest",
    "xml.dom.minidom", "decimal",       "multiprocessing", "tempfile",    "statistics", "zipfile", "pydoc",
    "xmlrpc.client",   "logging.config"};

std::string script_text() {
  std::string text;
  for (const std::string& module : kModules) text += fmt::format("import {}\n", module);
  return text + "print('answer', flush=True)\n";
}

}  // namespace

void measure_repository(const Settings& settings, Report& report, const char* row) {
  const std::string script = settings.directory + "/script.py";
  std::ofstream(script) << script_text();
  const std::string repository = CKPT_EXAMPLES "/warm_python/repository.py";
  ::setenv("CKPT_LIBRARY", CKPT_LIBRARY_FILE, 1);
  ::setenv("PYTHONDONTWRITEBYTECODE", "1", 1);
  std::vector<double> cold_ms;
  std::vector<double> warm_ms;
  for (unsigned i = 0; i < settings.runs; ++i) {
    ChildRun cold({kPython, script}, settings.directory + "/cold.err");
    cold_ms.push_back(milliseconds(cold.wait_for_line("answer").when - cold.started()));
    cold.wait();
  }
  {
    std::vector<std::string> command{kPython, repository};
    command.insert(command.end(), kModules.begin(), kModules.end());
    SupervisedRun run(settings, kName, {}, command);
    run.child().wait_for_line("ready:");
    run.child().wait();
  }
  for (unsigned i = 0; i < settings.runs; ++i) {
    ChildRun warm({settings.binaries + "/ckptrun", "--store", store_of(settings), "--recover",
                   std::string(kName) + "@1", "--", script},
                  settings.directory + "/warm.err");
    warm_ms.push_back(milliseconds(warm.wait_for_line("answer").when - warm.started()));
    warm.wait();
  }
  store::Store::open(store_of(settings), false).remove_application(kName);
  report.add({.row = row,
              .what = fmt::format("first line of a script, cold {:.0f} ms / recovered {:.0f} ms, medians",
                                  median(cold_ms), median(warm_ms)),
              .measured = median(cold_ms) / median(warm_ms),
              .unit = "x",
              .kind = Bound::kAtLeast,
              .bound = 2,
              .details = {{"cold_ms", cold_ms}, {"recovered_ms", warm_ms}}});
}

}  // namespace ckpt::bench
