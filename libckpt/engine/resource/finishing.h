// What the `finish` steps of several kinds share: calls made by the program itself.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "engine/resource/program_calls.h"
#include "image_generated.h"

namespace ckpt::engine::resource {

// The kernel's value, or Error "<attempt>: <errno text>".
std::int64_t call_or_throw(ProgramCalls& program, const std::string& attempt, long number,
                           std::initializer_list<std::uint64_t> arguments);

// Puts the program's descriptor `fd` to `numbers`, in the place of what is there, and closes it.
void put_at_numbers(ProgramCalls& program, std::int64_t fd,
                    const std::vector<const image::DescriptorT*>& numbers);

}  // namespace ckpt::engine::resource
