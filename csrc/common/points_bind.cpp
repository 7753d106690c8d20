#include "common/points_bind.h"

#include <limits>

#include "common/weights_bind.h"

namespace effdl {

Points points_view(pybind11::handle object, const char* op, const char* arg, bool on_cuda) {
  const TensorView v = dense_view(object, op, arg);
  if (v.is_cuda() != on_cuda) {
    fail_value(op, std::string(arg) + " must be on " + (on_cuda ? "a CUDA device" : "the CPU"));
  }
  if (!is_floating(v.dtype) && v.dtype != Dtype::u8) {
    fail_type(op,
              std::string(arg) + " must be float32, float64, float16, bfloat16 or uint8, got " + dtype_name(v.dtype));
  }
  if (v.ndim != 2) fail_value(op, std::string(arg) + " must have two dimensions, got a " + describe(v));
  if (v.shape[0] > std::numeric_limits<int32_t>::max() || v.shape[1] > std::numeric_limits<int32_t>::max()) {
    fail_value(op, std::string(arg) + " must have fewer than 2^31 rows and features, got a " + describe(v));
  }
  return {v.data, v.dtype, v.shape[0], v.shape[1]};
}

Metric metric_of(const std::string& name, const char* op) {
  if (name == "l2") return Metric::l2;
  if (name == "cosine") return Metric::cosine;
  if (name == "inner_product") return Metric::inner_product;
  fail_value(op, "metric must be one of l2, cosine, inner_product, got '" + name + "'");
}

Arithmetic arithmetic_of(const std::string& name, const char* op) {
  if (name == "automatic") return Arithmetic::automatic;
  if (name == "float32") return Arithmetic::float32;
  if (name == "bfloat16") return Arithmetic::bfloat16;
  fail_value(op, "arithmetic must be automatic, float32 or bfloat16, got '" + name + "'");
}

void fail_bad_row(const char* op, const char* arg, int64_t row) {
  fail_value(op, "row " + std::to_string(row) + " of " + arg + " holds NaN or infinity");
}

}  // namespace effdl
