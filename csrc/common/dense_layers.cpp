#include "common/dense_layers.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/half.h"
#include "common/parallel.h"

namespace effdl::dense {
namespace {

// Panels of inputs whose products a tile sums from 0: sums of sums lose less, and their weights stay in the cache.
constexpr int64_t kDepthPanels = 6;

template <class From, class T>
void copy_strided(const Matrix& m, int64_t begin, int64_t count, int64_t first_col, T* to, int64_t panel_stride) {
  const From* from = static_cast<const From*>(m.data) + begin * m.row_stride;
  const auto place = [&](int64_t c) { return to + (c / kPanel) * panel_stride + c % kPanel; };
  if (m.row_stride < m.col_stride) {  // by columns, as they lie
    for (int64_t c = 0; c < m.cols; ++c) {
      T* column = place(first_col + c);
      for (int64_t r = 0; r < count; ++r)
        column[r * kPanel] = static_cast<T>(from[r * m.row_stride + c * m.col_stride]);
    }
    return;
  }
  for (int64_t r = 0; r < count; ++r) {
    const From* row = from + r * m.row_stride;
    for (int64_t c = 0; c < m.cols;) {
      T* part = place(first_col + c) + r * kPanel;
      const int64_t end = std::min(m.cols, c + kPanel - (first_col + c) % kPanel);
      if (m.col_stride == 1) {
        part = std::transform(row + c, row + end, part, [](From v) { return static_cast<T>(v); });
        c = end;
      } else {
        for (; c < end; ++c) *part++ = static_cast<T>(row[c * m.col_stride]);
      }
    }
  }
}

// 16-bit numbers: as many as fit a panel's row are gathered and become float32 together.
template <class T>
void copy_half(const Matrix& m, int64_t begin, int64_t count, int64_t first_col, T* to, int64_t panel_stride) {
  const auto* from = static_cast<const uint16_t*>(m.data) + begin * m.row_stride;
  for (int64_t r = 0; r < count; ++r) {
    for (int64_t c = 0; c < m.cols;) {
      const int64_t cols = std::min(m.cols - c, kPanel - (first_col + c) % kPanel);
      T* part = to + (first_col + c) / kPanel * panel_stride + r * kPanel + (first_col + c) % kPanel;
      const uint16_t* row = from + r * m.row_stride + c * m.col_stride;
      uint16_t gathered[kPanel];
      if (m.col_stride != 1) {
        for (int64_t i = 0; i < cols; ++i) gathered[i] = row[i * m.col_stride];
        row = gathered;
      }
      float wide[kPanel];
      level().widen(row, m.dtype, cols, wide);
      std::copy_n(wide, cols, part);
      c += cols;
    }
  }
}

// Rows of a panel that begins at column first_col of the result.
template <class T>
void panel_to_rows(const T* panel, int64_t skip, int64_t cols, int64_t count, T* to, int64_t row_stride,
                   int64_t col_stride) {
  for (int64_t r = 0; r < count; ++r) {
    const T* from = panel + r * kPanel + skip;
    T* row = to + r * row_stride;
    if (col_stride == 1) {
      std::memcpy(row, from, static_cast<size_t>(cols) * sizeof(T));
    } else {
      for (int64_t i = 0; i < cols; ++i) row[i * col_stride] = from[i];
    }
  }
}

}  // namespace

template <class T>
void rows_to_panels(const Matrix& m, int64_t begin, int64_t count, int64_t first_col, T* to, int64_t panel_stride) {
  switch (m.dtype) {
    case Dtype::f32:
      return copy_strided<float>(m, begin, count, first_col, to, panel_stride);
    case Dtype::f64:
      return copy_strided<double>(m, begin, count, first_col, to, panel_stride);
    default:
      return copy_half(m, begin, count, first_col, to, panel_stride);
  }
}

template <class T>
Layers<T>::Layers(const std::vector<Matrix>& weights, int64_t inputs, Activation activation, int64_t first_col)
    : activation_(activation), widest_(inputs), first_col_(first_col) {
  for (const Matrix& w : weights) {
    const int64_t skip = &w == &weights.back() ? first_col : 0, outputs = w.cols + skip, panels = panels_of(outputs);
    Layer layer{w.rows - 1, outputs, buffer<T>(panels * kPanel * (w.rows - 1)), buffer<T>(panels * kPanel)};
    const auto pack = [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p) {
        const int64_t first = std::max<int64_t>(0, p * kPanel - skip), last = std::min(w.cols, (p + 1) * kPanel - skip);
        const int64_t before = first + skip - p * kPanel;
        for (int64_t k = 0; k < w.rows; ++k) {
          T* to = k == 0 ? layer.bias.get() + p * kPanel : layer.weights.get() + (p * layer.inputs + k - 1) * kPanel;
          const T* row = static_cast<const T*>(w.data) + k * w.row_stride;
          std::fill(to, to + kPanel, T(0));
          if (w.col_stride == 1) {
            std::copy(row + first, row + last, to + before);
          } else {
            for (int64_t c = first; c < last; ++c) to[before + c - first] = row[c * w.col_stride];
          }
        }
      }
    };
    parallel_for(0, panels, 1, pack);
    widest_ = std::max(widest_, outputs);
    layers_.push_back(std::move(layer));
  }
}

template <class T>
typename Layers<T>::Room Layers<T>::room(int64_t rows) const {
  const int64_t count = panels_of(widest_) * kPanel * rows;
  return {buffer<T>(count), buffer<T>(count), rows};
}

template <class T>
void Layers<T>::run(const Matrix& x, int64_t begin, int64_t count, Room& room, T* to, int64_t panel_stride,
                    const Matrix* result) const {
  const Kernels<T>& kernel = kernels<T>();
  const int64_t strips = (count + kRows - 1) / kRows, room_stride = room.panel_stride();
  rows_to_panels(x, begin, count, 0, room.in.get(), room_stride);
  for (int64_t p = 0; p < panels_of(x.cols); ++p) {  // rows that fill up the last strip
    T* panel = room.in.get() + p * room_stride;
    std::fill(panel + count * kPanel, panel + strips * kRows * kPanel, T(0));
  }
  for (const Layer& layer : layers_) {
    const bool last = &layer == &layers_.back();
    T* const out = last ? to : room.out.get();
    const int64_t out_stride = last ? panel_stride : room_stride;
    const int64_t depth_panels = panels_of(layer.inputs);
    const int64_t parts = std::max<int64_t>(1, (depth_panels + kDepthPanels - 1) / kDepthPanels);
    for (int64_t p = 0; p < panels_of(layer.outputs); ++p) {
      T* const panel = out + p * out_stride;
      const int64_t cols = std::min<int64_t>(kPanel, layer.outputs - p * kPanel);
      for (int64_t part = 0; part < parts; ++part) {
        const int64_t first = depth_panels * part / parts, end = depth_panels * (part + 1) / parts;
        LayerTile<T> tile;
        tile.panel_stride = room_stride;
        tile.weights = layer.weights.get() + (p * layer.inputs + first * kPanel) * kPanel;
        tile.depth = std::min(end * kPanel, layer.inputs) - first * kPanel;
        tile.bias = part == 0 ? layer.bias.get() + p * kPanel : nullptr;
        tile.cols = static_cast<int>(cols);
        for (int64_t s = 0; s < strips; ++s) {
          tile.input = room.in.get() + first * room_stride + s * kRows * kPanel;
          tile.output = panel + s * kRows * kPanel;
          kernel.layer(tile);
          if (part + 1 == parts) kernel.activate(activation_, tile.output, kRows * kPanel);
        }
      }
      if (last && result != nullptr) {
        const int64_t skip = p == 0 ? first_col_ : 0, col = p * kPanel + skip - first_col_;
        panel_to_rows(panel, skip, cols - skip, count,
                      static_cast<T*>(result->data) + begin * result->row_stride + col * result->col_stride,
                      result->row_stride, result->col_stride);
      }
    }
    std::swap(room.in, room.out);
  }
}

template void rows_to_panels(const Matrix&, int64_t, int64_t, int64_t, float*, int64_t);
template void rows_to_panels(const Matrix&, int64_t, int64_t, int64_t, double*, int64_t);
template class Layers<float>;
template class Layers<double>;

}  // namespace effdl::dense
