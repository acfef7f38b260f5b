#pragma once

// What the library shows to programs; everything else is hidden (see also exports.map).
#define CKPT_PUBLIC extern "C" __attribute__((visibility("default")))
