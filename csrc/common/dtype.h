// Element types that kernels know, as plain storage structs: no framework header is needed to name them.
#pragma once
#include <cstdint>

namespace effdl {

enum class Dtype : uint8_t { f32, f64, f16, bf16, i64, i32, i16, i8, u8, u16, boolean };

struct half_t {
  uint16_t bits;
};
struct bfloat16_t {
  uint16_t bits;
};

constexpr int64_t dtype_size(Dtype d) {
  switch (d) {
    case Dtype::f64:
    case Dtype::i64:
      return 8;
    case Dtype::f32:
    case Dtype::i32:
      return 4;
    case Dtype::f16:
    case Dtype::bf16:
    case Dtype::i16:
    case Dtype::u16:
      return 2;
    default:
      return 1;
  }
}

constexpr const char* dtype_name(Dtype d) {
  switch (d) {
    case Dtype::f32:
      return "float32";
    case Dtype::f64:
      return "float64";
    case Dtype::f16:
      return "float16";
    case Dtype::bf16:
      return "bfloat16";
    case Dtype::i64:
      return "int64";
    case Dtype::i32:
      return "int32";
    case Dtype::i16:
      return "int16";
    case Dtype::i8:
      return "int8";
    case Dtype::u8:
      return "uint8";
    case Dtype::u16:
      return "uint16";
    case Dtype::boolean:
      return "bool";
  }
  return "?";
}

constexpr bool is_floating(Dtype d) {
  return d == Dtype::f32 || d == Dtype::f64 || d == Dtype::f16 || d == Dtype::bf16;
}

}  // namespace effdl
