// FlatBuffers' verifier lets vectors of structs pass that lie where no such struct may.
#pragma once

#include <cstdint>
#include <type_traits>

namespace ckpt {

// `vector`: flatbuffers::Vector<const Struct*>, or nullptr.
template <typename Vector>
bool has_aligned_elements(const Vector* vector) {
  using Element = std::remove_cvref_t<decltype(*vector->Get(0))>;
  bool has_elements = vector != nullptr && vector->size() != 0;
  return !has_elements || reinterpret_cast<std::uintptr_t>(vector->Data()) % alignof(Element) == 0;
}

}  // namespace ckpt
