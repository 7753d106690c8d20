// Argument checks that the bindings of the ops on neighbours share.
#pragma once
#include <string>

#include "common/points.h"
#include "common/tensor_view.h"

namespace effdl {

// Contiguous (n, d) on the CPU (or on CUDA), n < 2^31, of a dtype that features have.
Points points_view(pybind11::handle object, const char* op, const char* arg, bool on_cuda = false);
Metric metric_of(const std::string& name, const char* op);
Arithmetic arithmetic_of(const std::string& name, const char* op);
[[noreturn]] void fail_bad_row(const char* op, const char* arg, int64_t row);

}  // namespace effdl
