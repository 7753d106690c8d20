// pow3_ga_loss over the vector types of one SIMD level; see common/ga_loss_body.inl.
namespace effdl::EFFDL_LEVEL {

struct Pow3GaLoss {
  static constexpr bool kLogAlpha = false;

  template <class Real>
  static inline Vec eval(Vec x, Vec t, Vec alpha, Vec, const Constants<Real>& k, Vec* delta) {
    const Vec cubic = mul(alpha, mul(x, mul(x, x)));
    const Vec rest = sub(set1(k.beta), t);
    *delta = add(cubic, rest);
    return mul(x, fmadd(cubic, set1(0.25f), rest));
  }

  template <bool, class Real>
  static inline Vec eval_zero(Vec x, Vec hi, Vec lo, const Constants<Real>& k, Vec* delta) {
    return eval(x, set1(0), hi, lo, k, delta);
  }
};

}  // namespace effdl::EFFDL_LEVEL
