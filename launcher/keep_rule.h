// How --keep is written: "5", or "last 5, hourly 24, daily 7, weekly 4, monthly 12" with any of these.
#pragma once

#include <string>
#include <string_view>

#include "store/retention.h"

namespace ckpt::launcher {

// Throws Error for anything else, and for a rule that would keep nothing.
store::Retention parse_keep_rule(std::string_view text);
std::string to_string(const store::Retention& retention);

}  // namespace ckpt::launcher
