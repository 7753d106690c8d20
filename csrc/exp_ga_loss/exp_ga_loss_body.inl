// exp_ga_loss over the vector types of one SIMD level; see common/ga_loss_body.inl.
namespace effdl::EFFDL_LEVEL {

template <bool kClamp>
struct ExpGaLoss {
  static constexpr bool kLogAlpha = true;

  // hi + lo is ln(alpha).
  template <class Real>
  static inline Vec eval(Vec x, Vec t, Vec hi, Vec lo, const Constants<Real>& k, Vec* delta) {
    const Vec z = add(add(x, hi), lo);
    const Vec y = exp_sum(x, hi, lo);
    Vec activation = y, penalty = y;
    if constexpr (kClamp) {  // beyond the clamp the exponential goes on as its tangent
      const Mask beyond = greater(z, set1(k.clamp));
      activation = select(beyond, set1(k.exp_clamp), y);
      penalty = select(beyond, fmadd(set1(k.exp_clamp), sub(z, set1(k.clamp)), set1(k.exp_clamp)), y);
    }
    *delta = sub(activation, t);
    // A class with target 0 owes nothing for its log, even at z = -inf.
    return fnmadd(t, zero_unless(nonzero(t), z), penalty);
  }

  // t = 0; kNeutral: alpha is 1.
  template <bool kNeutral, class Real>
  static inline Vec eval_zero(Vec x, Vec hi, Vec lo, const Constants<Real>& k, Vec* delta) {
    if constexpr (kClamp) {
      return eval(x, set1(0), hi, lo, k, delta);
    } else {
      *delta = kNeutral ? exp_plain(x) : exp_sum(x, hi, lo);
      return *delta;
    }
  }
};

}  // namespace effdl::EFFDL_LEVEL
