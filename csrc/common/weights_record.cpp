#include "common/weights_record.h"

#include <cstring>

#include "common/weights_record_check.h"

namespace effdl::record {

const char* read_header(const uint8_t* data, int64_t size, Header* header) {
  if (size < static_cast<int64_t>(sizeof(Header))) return "truncated";
  std::memcpy(header, data, sizeof(Header));
  return check_header(*header, size);
}

}  // namespace effdl::record
