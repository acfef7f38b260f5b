#include "launcher/store_command_line.h"

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <functional>

#include "base/error.h"
#include "base/file_io.h"
#include "launcher/exit_codes.h"
#include "launcher/heap_command.h"
#include "launcher/store_commands.h"
#include "launcher/store_location.h"
#include "launcher/transfer_commands.h"
#include "launcher/version_commands.h"

namespace ckpt::launcher {
namespace {

struct Arguments {
  std::string store;
  std::string target;
  bool json = false;
  bool repair = false;
  bool stacks = false;
  std::string output;
  std::string label;
  std::string other;
  SendOptions send;
  ReceiveOptions receive;
};

constexpr const char* kFooter =
    "Exit status: 0, or 125 with one line on standard error. --json output is stable; docs/json.md describes "
    "it.\n"
    "'ckptrun' runs and resumes programs.";

Target target_of(const store::Store& store, const Arguments& arguments) {
  return resolve_label(store, parse_target(arguments.target));
}

Target whole_application(const std::string& text) {
  Target target = parse_target(text);
  if (target.version || !target.label.empty())
    throw Error(fmt::format("'{}' names one version; give the application: {}", text, target.name));
  return target;
}

std::optional<std::string> optional_application(const Arguments& arguments) {
  if (arguments.target.empty()) return std::nullopt;
  return whole_application(arguments.target).name;
}

void print(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    throw_errno("write to standard output");
  }
}

struct Command {
  const char* name;
  const char* help;
  const char* target;  // nullptr: takes none; in brackets: need not be given
  std::function<std::string(store::Store&, const Arguments&)> run;
  void (*declare)(CLI::App& command, Arguments& arguments) = nullptr;  // options of its own
  bool makes_store = false;
};

const std::vector<Command>& commands() {
  static const std::vector<Command> kCommands{
      {"list", "List the applications of the store, or the versions of one as a tree", "[NAME]",
       [](store::Store& store, const Arguments& a) {
         return list_command(store, optional_application(a), a.json);
       }},
      {"show", "Show an application's versions, and what one of them (default: the latest) holds",
       "NAME[@VERSION]",
       [](store::Store& store, const Arguments& a) {
         return show_command(store, target_of(store, a), a.stacks, a.json);
       },
       [](CLI::App& command, Arguments& a) {
         command.add_flag("--stacks", a.stacks, "And the stack of every thread of that version");
       }},
      {"checkpoint", "Checkpoint a running application; returns when the version is durable", "NAME",
       [](store::Store& store, const Arguments& a) {
         return checkpoint_command(store, whole_application(a.target).name, a.json);
       }},
      {"suspend", "Checkpoint a running application and end it; its ckptrun exits 75", "NAME",
       [](store::Store& store, const Arguments& a) {
         return suspend_command(store, whole_application(a.target).name, a.json);
       }},
      {"rm", "Remove one version, or a whole application that is not running", "NAME[@VERSION]",
       [](store::Store& store, const Arguments& a) {
         return remove_command(store, target_of(store, a), a.json);
       }},
      {"verify", "Read every byte of the versions, and name those that are damaged", "[NAME[@VERSION]]",
       [](store::Store& store, const Arguments& a) {
         std::optional<Target> target;
         if (!a.target.empty()) target = target_of(store, a);
         verify_command(store, target, a.repair, a.json, print);
         return std::string();
       },
       [](CLI::App& command, Arguments& a) {
         command.add_flag("--repair", a.repair, "Remove damaged versions, and files that nothing needs");
       }},
      {"core", "Write a version as an ELF core file, for gdb PROGRAM FILE", "NAME[@VERSION]",
       [](store::Store& store, const Arguments& a) {
         return core_command(store, target_of(store, a), a.output, a.json);
       },
       [](CLI::App& command, Arguments& a) {
         command.add_option("-o,--output", a.output, "File to write (default: core.NAME.VERSION)")
             ->type_name("FILE");
       }},
      {"stats", "Show what each checkpoint of an application cost", "NAME",
       [](store::Store& store, const Arguments& a) {
         return stats_command(store, whole_application(a.target).name, a.json);
       }},
      {"tag", "Give a version a name; it is kept until it is untagged", "NAME@VERSION",
       [](store::Store& store, const Arguments& a) {
         return tag_command(store, target_of(store, a), a.label, a.json);
       },
       [](CLI::App& command, Arguments& a) {
         command.add_option("label", a.label, "Its name: NAME@LABEL is this version")
             ->type_name("LABEL")
             ->required();
       }},
      {"untag", "Take a version's name away", "NAME",
       [](store::Store& store, const Arguments& a) {
         return untag_command(store, whole_application(a.target).name, a.label, a.json);
       },
       [](CLI::App& command, Arguments& a) {
         command.add_option("label", a.label, "The name")->type_name("LABEL")->required();
       }},
      {"diff", "Show what changed between two versions", "NAME[@VERSION]",
       [](store::Store& store, const Arguments& a) {
         return diff_command(store, target_of(store, a), resolve_label(store, parse_target(a.other)), a.json);
       },
       [](CLI::App& command, Arguments& a) {
         command.add_option("other", a.other, "The later one")->type_name("NAME[@VERSION]")->required();
       }},
      {"gc", "Give back the space of removed versions, of all applications or of one", "[NAME]",
       [](store::Store& store, const Arguments& a) {
         return gc_command(store, optional_application(a), a.json);
       }},
      {"send", "Write a version (default: the latest) as a stream for ckpt receive", "NAME[@VERSION]",
       [](store::Store& store, const Arguments& a) {
         return send_command(store, target_of(store, a), a.send);
       },
       [](CLI::App& command, Arguments& a) {
         command
             .add_option("--since", a.send.since,
                         "Only what changed since this version, which the receiver has")
             ->type_name("VERSION");
         command
             .add_option("--have", a.send.have,
                         "Versions that the receiver has, as 3,5,8: only what the newest lacks")
             ->type_name("LIST");
         command
             .add_option("--offset", a.send.offset, "Bytes that arrived before; ckpt receive says how many")
             ->type_name("BYTES");
         command.add_option("-o,--output", a.send.output, "File to write (default: standard output)")
             ->type_name("FILE");
       }},
      {"receive", "Read a stream of ckpt send; the version is there when all of it is", nullptr,
       [](store::Store& store, const Arguments& a) { return receive_command(store, a.receive, a.json); },
       [](CLI::App& command, Arguments& a) {
         command.add_option("--name", a.receive.name, "Name of the application here (default: the sender's)")
             ->type_name("NAME");
         command.add_option("-i,--input", a.receive.input, "File to read (default: standard input)")
             ->type_name("FILE");
         command.add_flag("--partial", a.receive.partial, "Only list what of interrupted transfers is here");
       },
       true},
  };
  return kCommands;
}

void declare(CLI::App& app, Arguments& arguments) {
  app.footer(kFooter);
  app.set_help_flag("-h,--help", "Print this help and exit");
  app.set_version_flag("--version", fmt::format("ckpt {}", CKPT_VERSION));
  app.require_subcommand(1);
  app.fallthrough();
  app.add_option(
         "--store", arguments.store,
         "Directory of the checkpoints (default: $CKPT_STORE, else ${XDG_STATE_HOME:-~/.local/state}/ckpt)")
      ->type_name("DIR");
  for (const Command& command : commands()) {
    CLI::App* sub = app.add_subcommand(command.name, command.help);
    sub->fallthrough();
    sub->add_flag("--json", arguments.json, "Print JSON");
    if (command.target != nullptr) {
      bool required = command.target[0] != '[';
      sub->add_option("target", arguments.target, "What to work on")
          ->type_name(command.target)
          ->required(required);
    }
    if (command.declare != nullptr) command.declare(*sub, arguments);
  }
  // Its options are those of ckptrun, which reads them itself.
  CLI::App* recover = app.add_subcommand("recover", "Resume an application: the same as ckptrun --recover");
  recover->prefix_command();
  recover->set_help_flag("");
}

[[noreturn]] void become_ckptrun(const CLI::App& app, const Arguments& arguments) {
  std::filesystem::path self = read_link("/proc/self/exe");
  std::string ckptrun = (self.parent_path() / "ckptrun").string();
  std::vector<std::string> words{ckptrun};
  if (app.count("--store") > 0) words.insert(words.end(), {"--store", arguments.store});
  words.emplace_back("--recover");
  for (const std::string& word : app.get_subcommand("recover")->remaining()) words.push_back(word);
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  ::execv(ckptrun.c_str(), argv.data());
  throw_errno(fmt::format("start {}; it must be installed beside ckpt", ckptrun));
}

void run(const CLI::App& app, const Arguments& arguments) {
  if (app.got_subcommand("recover")) become_ckptrun(app, arguments);
  for (const Command& command : commands()) {
    if (!app.got_subcommand(command.name)) continue;
    std::optional<std::string> given;
    if (app.count("--store") > 0) given = arguments.store;
    store::Store store = command.makes_store ? open_store_for_run(given) : open_existing_store(given);
    print(command.run(store, arguments));
  }
}

}  // namespace

int run_store_command(const std::vector<std::string>& arguments) {
  CLI::App app("Lists, shows, checkpoints, suspends, resumes and removes checkpointed applications.", "ckpt");
  Arguments parsed;
  declare(app, parsed);
  HeapCommand heap(app);
  try {
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::CallForHelp&) {
    print(app.help());
    return 0;
  } catch (const CLI::CallForVersion&) {
    print(app.version() + "\n");
    return 0;
  } catch (const CLI::ParseError& error) {
    throw Error(fmt::format("{}; see ckpt --help", error.what()));
  }
  if (heap.was_given()) {
    print(heap.run());
    return 0;
  }
  run(app, parsed);
  return 0;
}

}  // namespace ckpt::launcher
