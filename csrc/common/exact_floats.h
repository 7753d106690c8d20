// While this lives, the thread computes with subnormal floats as IEEE 754 says, whatever torch.set_flush_denormal has
// set: results must not depend on which thread makes them.
#pragma once
#if defined(__x86_64__) || defined(_M_X64)
#include <xmmintrin.h>
#endif

namespace effdl {

class ExactFloats {
 public:
#if defined(__x86_64__) || defined(_M_X64)
  ExactFloats() : saved_(_mm_getcsr()) {
    if ((saved_ & kFlush) != 0) _mm_setcsr(saved_ & ~kFlush);
  }
  ~ExactFloats() {
    if ((saved_ & kFlush) != 0) _mm_setcsr(saved_);
  }

 private:
  static constexpr unsigned kFlush = 0x8040;  // flush to zero, denormals are zero
  unsigned saved_;
#elif defined(__aarch64__)
  ExactFloats() {
    __asm__ __volatile__("mrs %0, fpcr" : "=r"(saved_));
    set(saved_ & ~kFlush);
  }
  ~ExactFloats() { set(saved_); }

 private:
  static constexpr unsigned long kFlush = 1ul << 24;  // flush to zero
  static void set(unsigned long v) { __asm__ __volatile__("msr fpcr, %0" : : "r"(v)); }
  unsigned long saved_;
#endif
 public:
  ExactFloats(const ExactFloats&) = delete;
  ExactFloats& operator=(const ExactFloats&) = delete;
};

}  // namespace effdl
