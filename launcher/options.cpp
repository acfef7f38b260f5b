#include "launcher/options.h"

#include <fmt/format.h>
#include <signal.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "base/duration.h"
#include "base/error.h"
#include "base/parse.h"
#include "launcher/choices.h"
#include "launcher/cpu_baseline.h"
#include "launcher/keep_rule.h"
#include "launcher/memory_limit.h"
#include "launcher/signal_names.h"

namespace ckpt::launcher {
namespace {

constexpr const char* kUsage =
    "Usage: ckptrun [OPTIONS] [--] PROGRAM [ARG...]\n"
    "       ckptrun [OPTIONS] --recover [NAME[@VERSION]] [-- ARG...]\n"
    "       ckptrun [OPTIONS] --recover-or-run [--] PROGRAM [ARG...]\n";

constexpr const char* kFooter =
    "Options end at PROGRAM or --. What follows --recover NAME -- is for the program, if it asks for it "
    "(ckpt_args).\n"
    "DURATION is a number with a unit: 250ms, 60s, 10m, 1h.\n"
    "A recover uses --every, --keep, --on-term, --on-signal, --mode, --pause-budget, --compress, --lease "
    "and\n"
    "--lease-policy of the run before where they are not given again.\n"
    "\n"
    "Exit status: the program's (128+N if signal N killed it); 75 checkpointed and ended on request;\n"
    "125 ckptrun itself failed; 126 PROGRAM cannot be executed; 127 PROGRAM not found.\n"
    "\n"
    "Signals sent to ckptrun are passed on to the program. 'ckpt' lists, shows, checkpoints, suspends and "
    "removes.";

// Options as typed; turned into RunOptions afterwards, so that every message about a value is ours.
struct RawOptions {
  std::string store, name, every, keep, files, on_signal, on_term, pids, locks, recover, mode, pause_budget,
      compress, clone, lease_policy, sockets, cpu_baseline, heap_resident, heap_size;
  std::vector<std::string> leases, paths;
  bool recover_or_run = false;
  bool verbose = false;
  bool lazy = false, eager = false, no_agent = false, force_cpu = false;
};

// CLI11 knows nothing of a command line that follows the options.
class UsageFormatter : public CLI::Formatter {
 public:
  std::string make_usage(const CLI::App* /*app*/, std::string /*name*/) const override { return kUsage; }
};

void declare(CLI::App& app, RawOptions& raw) {
  app.formatter(std::make_shared<UsageFormatter>());
  app.footer(kFooter);
  app.prefix_command();
  app.set_help_flag("-h,--help", "Print this help and exit");
  app.set_version_flag("--version", fmt::format("ckptrun {}", CKPT_VERSION));
  app.add_option(
         "--store", raw.store,
         "Directory of the checkpoints (default: $CKPT_STORE, else ${XDG_STATE_HOME:-~/.local/state}/ckpt)")
      ->type_name("DIR");
  app.add_option("--name", raw.name,
                 "Name of the application (default: base name of PROGRAM, numbered if that is taken)")
      ->type_name("NAME");
  app.add_option("--every", raw.every, "Checkpoint periodically")->type_name("DURATION");
  app.add_option(
         "--keep", raw.keep,
         "Versions to keep: a number (default: 3), or 'last 5, hourly 24, daily 7, weekly 4, monthly 12'; "
         "the last one of every earlier run, and what is tagged, is kept too")
      ->type_name("RULE");
  app.add_option(
         "--files", raw.files,
         "Files that the program writes: left as they are (default), or part of each checkpoint and put back "
         "by a recover, which keeps what it replaces; or, too, those that it reads, which a recover makes "
         "where "
         "they are gone")
      ->type_name("keep|rollback|embed");
  app.add_option(
         "--on-term", raw.on_term,
         "What SIGTERM and SIGHUP to ckptrun do: checkpoint, end the program and exit 75, or reach the "
         "program (default: pass)")
      ->type_name("save|pass");
  app.add_option("--on-signal", raw.on_signal, "Signal to ckptrun that makes a checkpoint")->type_name("SIG");
  app.add_option("--pause-budget", raw.pause_budget,
                 "How long a checkpoint may stop the program (default: 10ms)")
      ->type_name("DURATION");
  app.add_option("--mode", raw.mode,
                 "How memory is copied: while the program is stopped, while it runs, from a snapshot made by "
                 "fork, or whatever keeps the pause within its budget (default: auto)")
      ->type_name("auto|copy|precopy|fork");
  app.add_option("--compress", raw.compress, "Compress the memory that checkpoints store (default: none)")
      ->type_name("none|lz4|zstd[:LEVEL]");
  app.add_option("--heap-resident", raw.heap_resident,
                 "Keep the memory of the program (heap, stacks of threads, all that no file stands behind) "
                 "within SIZE: "
                 "the rest is in the checkpoints, and comes back when it is touched (needs CAP_SYS_PTRACE)")
      ->type_name("SIZE|none");
  app.add_option(
         "--heap-size", raw.heap_size,
         "With --heap-resident: how much private memory the program may ask for in total; beyond that "
         "it is "
         "told that there is none (default: as much as it likes)")
      ->type_name("SIZE");
  app.add_option("--pids", raw.pids,
                 "Ids of recovered processes: the old ones, if need be by a namespace (auto), or new ones, "
                 "which libckpt.so "
                 "hides (default: auto)")
      ->type_name("auto|keep|namespace|new");
  app.add_option("--locks", raw.locks,
                 "What a recover does about a file lock that another process holds by now (default: fail)")
      ->type_name("fail|wait|ignore");
  app.add_option("--sockets", raw.sockets,
                 "What becomes of the TCP connections with the outside: in a recovered program they look "
                 "reset by the "
                 "peer (default), or closed by it; or what 'ckpt suspend' saves goes on when it is recovered "
                 "(needs CAP_NET_ADMIN)")
      ->type_name("reset|eof|keep");
  app.add_flag("--lazy", raw.lazy,
               "Let a recovered program run while its memory still comes (default where it is permitted: "
               "CAP_SYS_PTRACE)");
  app.add_flag("--eager", raw.eager, "Fill all memory of a recovered program before it runs");
  app.add_flag("--no-agent", raw.no_agent,
               "Start PROGRAM without libckpt preloaded (by default it is, unless PROGRAM is static)");
  app.add_flag("-v,--verbose", raw.verbose, "Report every checkpoint and the stages of a recover");
  app.add_option("--recover", raw.recover, "Resume (default: the application checkpointed last)")
      ->type_name("[NAME[@VERSION]]")
      ->expected(0, 1);
  app.add_option("--lease", raw.leases,
                 "Something outside that the program holds, got again when it is recovered: by a command "
                 "(exec:NAME=COMMAND), or a connection, with the first of several places that answers "
                 "(connect:HOST:PORT[,HOST:PORT...][,send=FILE]=reconnect)")
      ->type_name("SPEC")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false);
  app.add_option("--lease-policy", raw.lease_policy,
                 "What a lost lease does: go on and say so, or end it there (default: notify; but fail for "
                 "addresses where the program listens, and for locks of files)")
      ->type_name("notify|fail");
  app.add_option("--path", raw.paths,
                 "Recover with files that are at or below OLD in the checkpoint at or below NEW (repeatable)")
      ->type_name("OLD=NEW")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false);
  app.add_option("--cpu-baseline", raw.cpu_baseline,
                 "Have the libc of PROGRAM use nothing that processors of this level lack, so that it may be "
                 "recovered on any of them")
      ->type_name("x86-64-v2|x86-64-v3");
  app.add_flag("--force-cpu", raw.force_cpu,
               "Recover even on a processor that lacks something that the checkpoint's had");
  app.add_option("--clone", raw.clone,
                 "Recover a copy that is an application of its own, beside the one that it comes from")
      ->type_name("NEWNAME");
  app.add_flag("--recover-or-run", raw.recover_or_run,
               "Resume if there is something to resume, else start PROGRAM");
}

int parse_checkpoint_signal(const std::string& text) {
  int signal = parse_signal(text);
  for (int reserved : {SIGKILL, SIGSTOP, SIGCHLD, SIGCONT}) {
    if (signal == reserved) {
      throw Error(
          fmt::format("--on-signal cannot use {}; choose another, such as USR1", signal_name(signal)));
    }
  }
  return signal;
}

// What CLI11 left over: PROGRAM and all that follows it, or an option that it does not know.
std::vector<std::string> take_command(std::vector<std::string> rest) {
  if (rest.empty()) return rest;
  if (rest.front() == "--") {
    rest.erase(rest.begin());
  } else if (rest.front().starts_with('-')) {
    throw Error(fmt::format("unknown option {}; see ckptrun --help", rest.front()));
  }
  return rest;
}

// CLI11 does not always tell whether there was a "--".
std::vector<std::string> behind_dashes(const std::vector<std::string>& arguments) {
  auto dashes = std::ranges::find(arguments, "--");
  return dashes == arguments.end() ? std::vector<std::string>{}
                                   : std::vector<std::string>(dashes + 1, arguments.end());
}

RunMode mode_of(const CLI::App& app, const RawOptions& raw) {
  bool recover = app.count("--recover") > 0;
  if (recover && raw.recover_or_run)
    throw Error("--recover and --recover-or-run exclude each other; give one");
  if (recover) return RunMode::kRecover;
  return raw.recover_or_run ? RunMode::kRecoverOrRun : RunMode::kRun;
}

void check_combination(const RunOptions& options) {
  if (options.mode == RunMode::kRecover) {
    if (!options.command.empty()) {
      throw Error(
          fmt::format("--recover resumes a program with its own command line, but '{}' was given; leave it "
                      "out, use --recover-or-run, or put arguments for the program behind --",
                      options.command.front()));
    }
    if (options.name && options.target) throw Error("--name and --recover NAME name it twice; give one");
  } else if (options.command.empty()) {
    throw Error("no PROGRAM given; see ckptrun --help");
  }
  if (options.clone && options.mode != RunMode::kRecover)
    throw Error("--clone makes a copy of what --recover resumes; give --recover NAME, too");
  if (options.mode == RunMode::kRun && (!options.paths.empty() || options.force_cpu))
    throw Error("--path and --force-cpu are about a recover; give --recover NAME, too, or leave them out");
  if (options.mode == RunMode::kRecover && !options.cpu_baseline.empty())
    throw Error("--cpu-baseline is for the start of a program, when its libc decides; leave it out");
  if (options.heap_size != 0 && options.mode == RunMode::kRecover)
    throw Error("--heap-size is for the start of a program, whose limits come back with it; leave it out");
  if (options.heap_size != 0 && options.heap_resident.value_or(0) == 0)
    throw Error("--heap-size is about memory beyond what is resident; give --heap-resident, too");
  bool saves = options.on_term == OnTerm::kSave;
  if (saves && options.on_signal && (*options.on_signal == SIGTERM || *options.on_signal == SIGHUP)) {
    throw Error("--on-signal names a signal that --on-term save uses already; choose another, such as USR1");
  }
}

RunOptions interpret(const CLI::App& app, const RawOptions& raw, const std::vector<std::string>& arguments) {
  RunOptions options;
  options.mode = mode_of(app, raw);
  std::vector<std::string> rest = app.remaining();
  if (options.mode == RunMode::kRecover && raw.recover.empty() && rest.size() == 1 &&
      !rest[0].starts_with('-')) {
    options.target = parse_target(rest[0]);  // "--recover --every 1s NAME"
    rest.clear();
  }
  std::vector<std::string> words = take_command(std::move(rest));
  bool for_program = options.mode == RunMode::kRecover && words == behind_dashes(arguments);
  (for_program ? options.new_arguments : options.command) = std::move(words);
  parse_leases(raw.leases);  // throws for what makes no sense
  options.leases = raw.leases;
  if (app.count("--lease-policy") > 0) options.lease_policy = parse_lease_policy(raw.lease_policy);
  if (app.count("--clone") > 0) {
    store::Store::check_name(raw.clone);
    options.clone = raw.clone;
  }
  options.verbose = raw.verbose;
  options.agent = !raw.no_agent;
  if (app.count("--store") > 0) options.store = raw.store;
  if (app.count("--name") > 0) {
    store::Store::check_name(raw.name);
    options.name = raw.name;
  }
  if (!raw.recover.empty()) options.target = parse_target(raw.recover);
  if (app.count("--every") > 0) options.every = parse_duration(raw.every);
  if (app.count("--keep") > 0) {
    options.keep = parse_keep_rule(raw.keep);
  }
  if (app.count("--files") > 0) {
    options.files = parse_file_policy(raw.files);
  }
  if (app.count("--on-term") > 0) {
    options.on_term =
        choose<OnTerm>("--on-term", raw.on_term, {{"pass", OnTerm::kPass}, {"save", OnTerm::kSave}});
  }
  if (app.count("--on-signal") > 0) options.on_signal = parse_checkpoint_signal(raw.on_signal);
  if (app.count("--pids") > 0) {
    using engine::PidPolicy;
    options.pids = choose<PidPolicy>("--pids", raw.pids,
                                     {{"auto", PidPolicy::kAuto},
                                      {"keep", PidPolicy::kKeep},
                                      {"namespace", PidPolicy::kNamespace},
                                      {"new", PidPolicy::kNew}});
  }
  if (app.count("--locks") > 0) {
    using engine::LockPolicy;
    options.locks = choose<LockPolicy>(
        "--locks", raw.locks,
        {{"fail", LockPolicy::kFail}, {"wait", LockPolicy::kWait}, {"ignore", LockPolicy::kIgnore}});
  }
  if (app.count("--sockets") > 0) options.sockets = parse_outside_sockets(raw.sockets);
  for (const std::string& change : raw.paths) options.paths.push_back(parse_path_change(change));
  options.force_cpu = raw.force_cpu;
  if (app.count("--cpu-baseline") > 0) options.cpu_baseline = parse_cpu_baseline(raw.cpu_baseline);
  if (app.count("--mode") > 0) options.copy_mode = parse_copy_mode(raw.mode);
  if (app.count("--pause-budget") > 0) options.pause_budget = parse_duration(raw.pause_budget);
  if (app.count("--heap-resident") > 0) options.heap_resident = parse_heap_resident(raw.heap_resident);
  if (app.count("--heap-size") > 0) options.heap_size = parse_heap_size(raw.heap_size);
  if (app.count("--compress") > 0) options.write = parse_compression(raw.compress);
  if (raw.lazy && raw.eager) throw Error("--lazy and --eager exclude each other; give one");
  if (raw.lazy) options.fill = engine::FillPolicy::kLazy;
  if (raw.eager) options.fill = engine::FillPolicy::kEager;
  check_combination(options);
  return options;
}

}  // namespace

ParsedOptions parse_run_options(const std::vector<std::string>& arguments) {
  CLI::App app("Runs an unmodified program so that it can be checkpointed, killed and resumed.", "ckptrun");
  RawOptions raw;
  declare(app, raw);
  try {
    // CLI11 takes the arguments from the back.
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::CallForHelp&) {
    return {.options = {}, .information = Information{app.help()}};
  } catch (const CLI::CallForVersion&) {
    return {.options = {}, .information = Information{app.version() + "\n"}};
  } catch (const CLI::ParseError& error) {
    throw Error(fmt::format("{}; see ckptrun --help", error.what()));
  }
  return {.options = interpret(app, raw, arguments), .information = std::nullopt};
}

Settings merge_settings(const RunOptions& given, const std::optional<Settings>& earlier) {
  Settings settings = earlier.value_or(Settings{});
  if (given.every) settings.every = given.every;
  if (given.keep) settings.keep = *given.keep;
  if (given.files) settings.files = *given.files;
  if (given.on_term) settings.on_term = *given.on_term;
  if (given.on_signal) settings.on_signal = *given.on_signal;
  if (given.copy_mode) settings.mode = *given.copy_mode;
  if (given.pause_budget) settings.pause_budget = *given.pause_budget;
  if (given.write) settings.write = *given.write;
  if (!given.cpu_baseline.empty()) settings.cpu_baseline = given.cpu_baseline;
  if (!given.leases.empty()) settings.leases = given.leases;
  if (given.lease_policy) settings.lease_policy = given.lease_policy;
  if (given.sockets) settings.sockets = *given.sockets;
  if (given.heap_resident) settings.heap_resident = *given.heap_resident;
  return settings;
}

}  // namespace ckpt::launcher
