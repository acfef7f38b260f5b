// Images made by hand.
#pragma once

#include <cstdint>
#include <string>

#include "image_generated.h"

namespace ckpt::engine {

inline image::CheckpointT empty_checkpoint() {
  image::CheckpointT checkpoint;
  checkpoint.process = std::make_unique<image::ProcessT>();
  checkpoint.process->space = 1;
  checkpoint.process->layout = std::make_unique<image::MemoryLayoutT>();
  checkpoint.process->threads.push_back(std::make_unique<image::ThreadT>());
  return checkpoint;
}

inline image::MappingT& add_mapping(image::CheckpointT& checkpoint, image::MappingKind kind,
                                    std::uint64_t start, std::uint64_t end, std::uint32_t protection = 0,
                                    const std::string& name = {}) {
  checkpoint.process->mappings.push_back(std::make_unique<image::MappingT>());
  image::MappingT& mapping = *checkpoint.process->mappings.back();
  mapping.kind = kind;
  mapping.start = start;
  mapping.end = end;
  mapping.protection = protection;
  mapping.name = name;
  return mapping;
}

inline image::SharedObjectT& add_object(image::CheckpointT& checkpoint, image::ObjectKind kind,
                                        std::uint64_t size) {
  checkpoint.objects.push_back(std::make_unique<image::SharedObjectT>());
  checkpoint.objects.back()->kind = kind;
  checkpoint.objects.back()->size = size;
  return *checkpoint.objects.back();
}

}  // namespace ckpt::engine
