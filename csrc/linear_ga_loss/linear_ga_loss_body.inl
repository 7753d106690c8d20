// linear_ga_loss over the vector types of one SIMD level; see common/ga_loss_body.inl.
namespace effdl::EFFDL_LEVEL {

struct LinearGaLoss {
  static constexpr bool kLogAlpha = false;

  template <class Real>
  static inline Vec eval(Vec x, Vec t, Vec, Vec, const Constants<Real>&, Vec* delta) {
    *delta = sub(x, t);
    return mul(set1(0.5f), mul(*delta, *delta));
  }

  template <bool, class Real>
  static inline Vec eval_zero(Vec x, Vec hi, Vec lo, const Constants<Real>& k, Vec* delta) {
    return eval(x, set1(0), hi, lo, k, delta);
  }
};

}  // namespace effdl::EFFDL_LEVEL
