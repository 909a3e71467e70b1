package dev.trivet.tensor;

import java.lang.foreign.MemorySegment;
import java.util.List;

/**
 * A tensor as PyTorch stores it: element {@code (i, j, ...)} is element {@code offset + i * strides[0] + j * strides[1] + ...} of a
 * storage. Transposed, sliced, expanded and shared tensors differ from a plain one only in these numbers. Every element lies
 * inside the storage.
 *
 * @param dtype as safetensors names it
 */
record StridedView(String dtype, PickleValue.Storage storage, long offset, List<Long> shape, List<Long> strides) {
    /** An expanded tensor repeats its storage's elements; more of them than this is no model's. */
    private static final long MOST_REPEATED = 1 << 20;

    StridedView {
        shape = List.copyOf(shape);
        strides = List.copyOf(strides);
    }

    /** Checks the numbers against each other. */
    static StridedView of(String dtype, PickleValue.Storage storage, long offset, List<Long> shape, List<Long> strides)
            throws MalformedTorchException {
        StridedView view = new StridedView(dtype, storage, offset, shape, strides);
        if (shape.size() > SafetensorsHeader.MOST_DIMENSIONS || shape.size() != strides.size()) {
            throw new MalformedTorchException(
                    "has a tensor of " + shape.size() + " dimensions and " + strides.size() + " strides");
        }
        long held = storage.bytes() / view.elementBytes();
        try {
            long last = offset;
            long elements = 1;
            for (int d = 0; d < shape.size(); d++) {
                if (shape.get(d) < 0 || strides.get(d) < 0) {
                    throw new MalformedTorchException("has a tensor of negative shape or stride");
                }
                elements = Math.multiplyExact(elements, shape.get(d));
                last = Math.addExact(last, Math.multiplyExact(Math.max(0, shape.get(d) - 1), strides.get(d)));
            }
            if (offset < 0 || (elements > 0 && last >= held)) {
                throw new MalformedTorchException("has a tensor of shape " + shape + " that reaches beyond the " + held
                        + " elements of storage " + SafetensorsHeader.shown(storage.key()));
            }
            if (elements > Math.max(held, MOST_REPEATED)) {
                throw new MalformedTorchException(
                        "has a tensor of shape " + shape + " that repeats " + held + " elements",
                        "save it contiguous: tensor.contiguous()");
            }
        } catch (ArithmeticException e) {
            throw new MalformedTorchException("has a tensor of a shape too large to exist", e);
        }
        return view;
    }

    private long elementBytes() {
        Integer bytes = SafetensorsHeader.ELEMENT_BYTES.get(dtype);
        if (bytes == null) {
            throw new IllegalArgumentException(dtype);
        }
        return bytes;
    }

    private long elements() {
        return shape.stream().reduce(1L, (a, b) -> a * b);
    }

    /** Row-major without gaps, as {@link Tensor} wants it. */
    private boolean isContiguous() {
        long expected = 1;
        for (int d = shape.size() - 1; d >= 0; d--) {
            if (shape.get(d) != 1 && strides.get(d) != expected) {
                return false;
            }
            expected *= shape.get(d);
        }
        return true;
    }

    /**
     * The elements in row-major order: a slice of the storage where they lie so, else a copy on the heap.
     *
     * @throws MalformedTorchException if the copy would take over 2 GB
     */
    MemorySegment rowMajor(MemorySegment stored) throws MalformedTorchException {
        long size = elementBytes();
        long bytes = elements() * size;
        if (bytes == 0) {
            return stored.asSlice(0, 0);
        }
        if (isContiguous()) {
            return stored.asSlice(offset * size, bytes);
        }
        if (bytes > Integer.MAX_VALUE - 8) {
            throw new MalformedTorchException(
                    "has a strided tensor of over 2 GB", "save it contiguous: tensor.contiguous()");
        }
        MemorySegment copy = MemorySegment.ofArray(new byte[(int) bytes]);
        // Whole rows where their elements are neighbours.
        int outer = strides.getLast() == 1 ? shape.size() - 1 : shape.size();
        long run = size * (outer == shape.size() ? 1 : shape.getLast());
        long[] index = new long[outer];
        long from = offset;
        for (long to = 0; to < bytes; to += run) {
            MemorySegment.copy(stored, from * size, copy, to, run);
            for (int d = outer - 1; d >= 0; d--) {
                from += strides.get(d);
                if (++index[d] < shape.get(d)) {
                    break;
                }
                from -= index[d] * strides.get(d);
                index[d] = 0;
            }
        }
        return copy;
    }
}
