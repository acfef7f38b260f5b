#include "launcher/lease_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/unique_fd.h"
#include "launcher/human_units.h"
#include "launcher/json_text.h"

namespace ckpt::launcher {
namespace {

using nlohmann::json;

constexpr const char* kFile = "leases";

std::string read_all(int directory) {
  UniqueFd file(::openat(directory, kFile, O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  std::string content;
  std::array<char, 4096> buffer;
  while (file) {
    ssize_t got = ::read(file.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    content.append(buffer.data(), static_cast<std::size_t>(got));
  }
  return content;
}

std::optional<LeaseChange> parse_change(const std::string& line) {
  try {
    json parsed = json::parse(line);
    return LeaseChange{.realtime_ns = parsed.at("realtime_ns").get<std::int64_t>(),
                       .name = parsed.at("name").get<std::string>(),
                       .kind = parsed.at("kind").get<std::string>(),
                       .state = parse_lease_state(parsed.at("state").get<std::string>()),
                       .detail = parsed.value("detail", ""),
                       .data = parsed.value("data", "")};
  } catch (const json::exception&) {
    return std::nullopt;
  } catch (const Error&) {
    return std::nullopt;
  }
}

}  // namespace

void LeaseLog::append(const LeaseChange& change) const {
  UniqueFd file(::openat(directory_, kFile, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) throw_errno("open the application's file 'leases'; the store must be writable");
  std::string line = json_line({{"realtime_ns", realtime_now_ns()},
                                {"name", change.name},
                                {"kind", change.kind},
                                {"state", std::string(name_of(change.state))},
                                {"detail", change.detail},
                                {"data", change.data}}) +
                     "\n";
  // One call per line; what a full disk cuts short is not a line for a reader.
  if (::write(file.get(), line.data(), line.size()) != static_cast<ssize_t>(line.size()))
    throw_errno("write to the application's file 'leases'");
}

std::vector<LeaseChange> LeaseLog::changes() const {
  std::vector<LeaseChange> found;
  std::string content = read_all(directory_);
  for (std::size_t begin = 0; begin < content.size();) {
    std::size_t end = content.find('\n', begin);
    if (end == std::string::npos) break;
    if (auto change = parse_change(content.substr(begin, end - begin))) found.push_back(std::move(*change));
    begin = end + 1;
  }
  return found;
}

std::vector<LeaseChange> LeaseLog::states() const {
  std::vector<LeaseChange> last;
  for (LeaseChange& change : changes()) {
    auto known = std::ranges::find(last, change.name, &LeaseChange::name);
    if (known == last.end())
      last.push_back(std::move(change));
    else
      *known = std::move(change);
  }
  return last;
}

std::optional<LeaseChange> LeaseLog::state(const std::string& name) const {
  std::vector<LeaseChange> all = states();
  auto found = std::ranges::find(all, name, &LeaseChange::name);
  return found == all.end() ? std::nullopt : std::optional(*found);
}

}  // namespace ckpt::launcher
