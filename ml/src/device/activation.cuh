// Activation functions and their slopes.

#pragma once

enum Activation { NONE = 0, RELU = 1, TANH = 2, SIGMOID = 3, GELU = 4, SILU = 5, LEAKY_RELU = 6 };

__device__ __forceinline__ float sigmoid(float z) { return 0.5f * tanhf(0.5f * z) + 0.5f; }

// The distribution function of the standard normal distribution.
__device__ __forceinline__ float normal(float z) { return 0.5f + 0.5f * erff(z * 0.70710678f); }

__device__ __forceinline__ float activate(float z, int activation) {
  switch (activation) {
    // NaN stays NaN.
    case RELU: return z <= 0.0f ? 0.0f : z;
    case TANH: return tanhf(z);
    case SIGMOID: return sigmoid(z);
    case GELU: return z * normal(z);
    case SILU: return z * sigmoid(z);
    case LEAKY_RELU: return z > 0.0f ? z : 0.01f * z;
    default: return z;
  }
}

// dy times the slope of NONE, RELU, TANH or SIGMOID, which follows from the value y.
__device__ __forceinline__ float slope(float y, float dy, int activation) {
  switch (activation) {
    // At 0 the slope is 0, as in PyTorch.
    case RELU: return y > 0.0f ? dy : 0.0f;
    case TANH: return dy * (1.0f - y * y);
    case SIGMOID: return dy * y * (1.0f - y);
    default: return dy;
  }
}

// dy times the slope at z.
__device__ __forceinline__ float slope_at(float z, float dy, int activation) {
  switch (activation) {
    case GELU: return dy * (normal(z) + z * 0.39894228f * expf(-0.5f * z * z));
    case SILU: {
      float s = sigmoid(z);
      return dy * (s + z * s * (1.0f - s));
    }
    case LEAKY_RELU: return z > 0.0f ? dy : 0.01f * dy;
    default: return slope(activate(z, activation), dy, activation);
  }
}
