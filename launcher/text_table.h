#pragma once

#include <string>
#include <vector>

namespace ckpt::launcher {

// Rows in columns that are as wide as their widest cell; the first row is the heading, the last column is not
// padded.
std::string text_table(const std::vector<std::vector<std::string>>& rows);

// A command line on one line: words with blanks or special characters are quoted as a shell wants them.
std::string quoted_command(const std::vector<std::string>& words);

}  // namespace ckpt::launcher
