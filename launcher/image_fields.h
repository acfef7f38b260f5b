// Fields of a process image, read where they may be absent.
#pragma once

#include <flatbuffers/flatbuffers.h>

#include <string>

namespace ckpt::launcher {

inline std::string text(const flatbuffers::String* string) {
  return string != nullptr ? string->str() : std::string();
}

// An absent vector reads as an empty one.
template <typename Vector, typename Visit>
void each(const Vector* vector, Visit visit) {
  if (vector == nullptr) return;
  for (flatbuffers::uoffset_t i = 0; i < vector->size(); ++i) visit(vector->Get(i));
}

}  // namespace ckpt::launcher
