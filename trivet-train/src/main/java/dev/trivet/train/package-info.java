/** Training of vision transformers on PyTorch's C++ library; nothing of it is loaded before a training starts. */
@NullMarked
package dev.trivet.train;

import org.jspecify.annotations.NullMarked;
