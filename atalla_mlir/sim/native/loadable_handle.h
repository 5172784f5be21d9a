// What the C interface hands out as a loadable.
#pragma once

#include <cstdint>
#include <memory>

#include "include/atalla_loadable.h"
#include "loadable.h"

struct atalla_loadable {
  std::unique_ptr<std::uint8_t[]> file;  // null when the caller keeps the data
  atalla::Loadable loadable;
};
