// Argument checks that the bindings of mlp_forward and mlp_moments share.
#pragma once
#include <pybind11/pybind11.h>

#include <string>
#include <vector>

#include "common/dense_layers.h"

namespace effdl::dense {

// A floating CPU tensor of two dimensions and any strides.
Matrix matrix_view(pybind11::handle object, const char* op, const char* arg);
// Of layers that follow each other, in the dtype that x is computed in.
std::vector<Matrix> weights_views(const pybind11::sequence& weights, const Matrix& x, const char* op);
Dtype compute_dtype(const Matrix& x);
Activation activation_of(const std::string& name, const char* op);

}  // namespace effdl::dense
