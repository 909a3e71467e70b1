package dev.trivet.kernel;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_SHORT;

import java.lang.foreign.MemorySegment;

/**
 * The definition of {@link Pointwise}, in plain scalar Java.
 *
 * <p>Float sums depend on their order, so the order is part of the definition: element {@code i} is added to lane {@code i mod
 * 16}, in rising order, and the 16 lanes are then folded in halves (lane j += lane j + 8, then 4, 2, 1). A SIMD version with
 * 4, 8 or 16 lanes per register can follow that order exactly.
 */
final class ReferencePointwise implements Pointwise {
    static final int LANES = 16;

    private final float[] lanes = new float[LANES];
    private float[] row = new float[0];

    @Override
    public void encode(MemorySegment x, int count, Operand operand, MemorySegment out) {
        int channels = operand.channels(count);
        for (int i = 0; i < count; i++) {
            store(out, i, operand.equalized(x.getAtIndex(JAVA_FLOAT, i), i % channels), operand);
        }
    }

    @Override
    public void layerNorm(
            MemorySegment x,
            int rows,
            int width,
            MemorySegment gamma,
            MemorySegment beta,
            float epsilon,
            Operand operand,
            MemorySegment out) {
        for (int r = 0; r < rows; r++) {
            long base = (long) r * width;
            clearLanes();
            for (int c = 0; c < width; c++) {
                lanes[c % LANES] += x.getAtIndex(JAVA_FLOAT, base + c);
            }
            float mean = fold(lanes, 0) / width;
            clearLanes();
            for (int c = 0; c < width; c++) {
                float d = x.getAtIndex(JAVA_FLOAT, base + c) - mean;
                lanes[c % LANES] = Math.fma(d, d, lanes[c % LANES]);
            }
            float inverse = inverseDeviation(fold(lanes, 0), width, epsilon);
            for (int c = 0; c < width; c++) {
                float normal = (x.getAtIndex(JAVA_FLOAT, base + c) - mean) * inverse;
                float y = Math.fma(normal, gamma.getAtIndex(JAVA_FLOAT, c), beta.getAtIndex(JAVA_FLOAT, c));
                store(out, base + c, y, operand);
            }
        }
    }

    static float inverseDeviation(float squares, int width, float epsilon) {
        return 1f / (float) Math.sqrt(squares / width + epsilon);
    }

    @Override
    public void decode(MemorySegment raw, int rows, Product product, MemorySegment out) {
        for (int r = 0; r < rows; r++) {
            for (int c = 0; c < product.columns(); c++) {
                long i = (long) r * product.columns() + c;
                out.setAtIndex(JAVA_FLOAT, i, value(raw, i, c, product));
            }
        }
    }

    @Override
    public void addTo(MemorySegment raw, int rows, Product product, MemorySegment residual) {
        for (int r = 0; r < rows; r++) {
            for (int c = 0; c < product.columns(); c++) {
                long i = (long) r * product.columns() + c;
                float sum = residual.getAtIndex(JAVA_FLOAT, i) + value(raw, i, c, product);
                residual.setAtIndex(JAVA_FLOAT, i, sum);
            }
        }
    }

    @Override
    public void gelu(MemorySegment raw, int rows, Product product, Operand operand, MemorySegment out) {
        for (int r = 0; r < rows; r++) {
            for (int c = 0; c < product.columns(); c++) {
                long i = (long) r * product.columns() + c;
                float x = value(raw, i, c, product);
                store(out, i, gelu(x, operand), operand);
            }
        }
    }

    @Override
    public void gelu(MemorySegment values, int count, Operand operand, MemorySegment out) {
        for (int i = 0; i < count; i++) {
            float x = values.getAtIndex(JAVA_FLOAT, i);
            store(out, i, gelu(x, operand), operand);
        }
    }

    private static float gelu(float x, Operand operand) {
        return operand.integer && !operand.wide ? ScalarMath.byteGelu(x) : ScalarMath.gelu(x);
    }

    @Override
    public void requantize(MemorySegment raw, int rows, Requantization requantization, MemorySegment out) {
        for (int r = 0; r < rows; r++) {
            for (int c = 0; c < requantization.columns(); c++) {
                long i = (long) r * requantization.columns() + c;
                float steps = affine(raw, i, c, requantization.scale(), requantization.offset());
                out.set(JAVA_BYTE, i, (byte) ScalarMath.code(steps, 1f, Requantization.LOW, Requantization.HIGH, 0));
            }
        }
    }

    @Override
    public void splitHeads(
            MemorySegment codes, AttentionShape shape, MemorySegment query, MemorySegment key, MemorySegment value) {
        int width = shape.width();
        int headWidth = shape.headWidth();
        for (int row = 0; row < shape.images() * shape.rows(); row++) {
            for (int head = 0; head < shape.heads(); head++) {
                long from = 3L * row * width + (long) head * headWidth;
                long to = shape.keyRow(row, head) * headWidth;
                MemorySegment.copy(codes, from, query, shape.headRow(row, head) * headWidth, headWidth);
                MemorySegment.copy(codes, from + width, key, to, headWidth);
                MemorySegment.copy(codes, from + 2L * width, value, to, headWidth);
            }
        }
    }

    @Override
    public void splitWindowCodes(
            MemorySegment codes,
            WindowShape shape,
            Product product,
            AttentionOperands operands,
            MemorySegment query,
            MemorySegment key,
            MemorySegment value) {
        int width = shape.width();
        int headWidth = shape.headWidth();
        for (int image = 0; image < shape.images(); image++) {
            for (int i = 0; i < shape.source().length; i++) {
                int token = shape.source()[i];
                for (int c = 0; shape.has(token) && c < width; c++) {
                    long to = shape.headRow(image, i, c / headWidth) * headWidth + c % headWidth;
                    if (token < 0) {
                        store(query, to, product.bias().getAtIndex(JAVA_FLOAT, c), operands.query());
                        store(key, to, product.bias().getAtIndex(JAVA_FLOAT, width + c), operands.key());
                        store(value, to, product.bias().getAtIndex(JAVA_FLOAT, 2L * width + c), operands.value());
                    } else {
                        long from = shape.row(image, token) * 3 * width + c;
                        query.set(JAVA_BYTE, to, codes.get(JAVA_BYTE, from));
                        key.set(JAVA_BYTE, to, codes.get(JAVA_BYTE, from + width));
                        value.set(JAVA_BYTE, to, codes.get(JAVA_BYTE, from + 2L * width));
                    }
                }
            }
        }
    }

    @Override
    public void splitHeads(
            MemorySegment raw,
            AttentionShape shape,
            Product product,
            AttentionOperands operands,
            MemorySegment query,
            MemorySegment key,
            MemorySegment value) {
        int width = shape.width();
        for (int row = 0; row < shape.images() * shape.rows(); row++) {
            for (int c = 0; c < 3 * width; c++) {
                float v = value(raw, (long) row * 3 * width + c, c, product);
                int head = c % width / shape.headWidth();
                int channel = c % shape.headWidth();
                long to = shape.keyRow(row, head) * shape.headWidth() + channel;
                switch (c / width) {
                    case 0 -> store(query, shape.headRow(row, head) * shape.headWidth() + channel, v, operands.query());
                    case 1 -> store(key, to, v, operands.key());
                    default -> store(value, to, v, operands.value());
                }
            }
        }
    }

    @Override
    public void softmax(
            MemorySegment raw,
            boolean integer,
            int rows,
            int columns,
            float scale,
            Operand operand,
            MemorySegment out) {
        softmaxNumerators(raw, integer, rows, columns, scale, operand, out, MemorySegment.NULL);
    }

    private void reserveRow(int columns) {
        if (row.length < columns) {
            row = new float[columns];
        }
    }

    /** Probabilities of {@link #row}, or its numerators with their factor; the row is overwritten. */
    private void softmaxRow(int columns, Operand operand, MemorySegment out, long base, MemorySegment factors) {
        float highest = Float.NEGATIVE_INFINITY;
        for (int c = 0; c < columns; c++) {
            if (row[c] > highest) {
                highest = row[c];
            }
        }
        boolean probabilities = factors.equals(MemorySegment.NULL);
        clearLanes();
        for (int c = 0; c < columns; c++) {
            row[c] = probabilities || operand.wide
                    ? ScalarMath.exp(row[c] - highest)
                    : ScalarMath.decay(highest - row[c]);
            lanes[c % LANES] += row[c];
        }
        float inverse = probabilities ? 1f / fold(lanes, 0) : 1f;
        for (int c = 0; c < columns; c++) {
            store(out, base + c, row[c] * inverse, operand);
        }
        if (!probabilities) {
            factors.setAtIndex(JAVA_FLOAT, base / columns, 1f / sumOfCodes(out, base, columns, operand));
        }
    }

    @Override
    public void softmaxNumerators(
            MemorySegment raw,
            boolean integer,
            int rows,
            int columns,
            float scale,
            Operand operand,
            MemorySegment out,
            MemorySegment factors) {
        reserveRow(columns);
        for (int r = 0; r < rows; r++) {
            long base = (long) r * columns;
            for (int c = 0; c < columns; c++) {
                row[c] = rawValue(raw, base + c, integer) * scale;
            }
            softmaxRow(columns, operand, out, base, factors);
        }
    }

    /** Exact: the largest code occurs, so it is not zero, and it stays below 2^24. */
    static float sumOfCodes(MemorySegment codes, long from, int count, Operand operand) {
        int sum = 0;
        for (long i = from; i < from + count; i++) {
            sum += operand.wide ? codes.getAtIndex(JAVA_SHORT, i) : codes.get(JAVA_BYTE, i) & 0xff;
        }
        return Math.max(sum, 1);
    }

    @Override
    public void mergeNormalizedHeads(
            MemorySegment raw,
            AttentionShape shape,
            float scale,
            MemorySegment factors,
            Operand operand,
            MemorySegment out) {
        int width = shape.width();
        for (int row = 0; row < shape.images() * shape.rows(); row++) {
            for (int c = 0; c < width; c++) {
                long headRow = shape.headRow(row, c / shape.headWidth());
                float factor = factors.getAtIndex(JAVA_FLOAT, headRow) * scale;
                float value = rawValue(raw, headRow * shape.headWidth() + c % shape.headWidth(), true) * factor;
                store(out, (long) row * width + c, value, operand);
            }
        }
    }

    @Override
    public void mergeHeads(
            MemorySegment raw, boolean integer, AttentionShape shape, float scale, Operand operand, MemorySegment out) {
        int width = shape.width();
        for (int row = 0; row < shape.images() * shape.rows(); row++) {
            for (int c = 0; c < width; c++) {
                long from = shape.headRow(row, c / shape.headWidth()) * shape.headWidth() + c % shape.headWidth();
                store(out, (long) row * width + c, rawValue(raw, from, integer) * scale, operand);
            }
        }
    }

    @Override
    public void splitWindows(
            MemorySegment raw,
            WindowShape shape,
            Product product,
            AttentionOperands operands,
            MemorySegment query,
            MemorySegment key,
            MemorySegment value) {
        int width = shape.width();
        int headWidth = shape.headWidth();
        for (int image = 0; image < shape.images(); image++) {
            for (int i = 0; i < shape.source().length; i++) {
                int token = shape.source()[i];
                long from = shape.row(image, token) * 3 * width;
                for (int c = 0; shape.has(token) && c < 3 * width; c++) {
                    float v = token < 0 ? product.bias().getAtIndex(JAVA_FLOAT, c) : value(raw, from + c, c, product);
                    long to = shape.headRow(image, i, c % width / headWidth) * headWidth + c % headWidth;
                    switch (c / width) {
                        case 0 -> store(query, to, v, operands.query());
                        case 1 -> store(key, to, v, operands.key());
                        default -> store(value, to, v, operands.value());
                    }
                }
            }
        }
    }

    @Override
    public void softmaxWindows(
            MemorySegment raw,
            boolean integer,
            WindowShape shape,
            float scale,
            ScoreBias bias,
            Operand operand,
            MemorySegment out,
            MemorySegment factors) {
        int n = shape.windowTokens();
        reserveRow(n);
        for (int b = shape.firstProduct(); b < shape.endProduct(); b++) {
            int head = b % shape.heads();
            int window = b / shape.heads() % shape.windows();
            for (int r = 0; r < n; r++) {
                long base = ((long) (b - shape.firstProduct()) * n + r) * n;
                long relative = ((long) head * n + r) * n;
                long mask = ((long) window * n + r) * n;
                for (int c = 0; c < n; c++) {
                    float added = bias.relative().getAtIndex(JAVA_FLOAT, relative + c);
                    row[c] = Math.fma(rawValue(raw, base + c, integer), scale, added);
                    if (bias.masked()[window]) {
                        row[c] += bias.mask().getAtIndex(JAVA_FLOAT, mask + c);
                    }
                }
                softmaxRow(n, operand, out, base, factors);
            }
        }
    }

    @Override
    public void mergeWindows(
            MemorySegment raw,
            boolean integer,
            WindowShape shape,
            float scale,
            MemorySegment factors,
            Operand operand,
            MemorySegment out) {
        int width = shape.width();
        int headWidth = shape.headWidth();
        for (int image = 0; image < shape.images(); image++) {
            for (int i = 0; i < shape.source().length; i++) {
                int token = shape.source()[i];
                for (int c = 0; token >= 0 && shape.has(token) && c < width; c++) {
                    long headRow = shape.headRow(image, i, c / headWidth);
                    float value = rawValue(raw, headRow * headWidth + c % headWidth, integer);
                    long to = shape.row(image, token) * width + c;
                    store(out, to, value * step(scale, factors, headRow), operand);
                }
            }
        }
    }

    /** What a row's sums are multiplied by. */
    static float step(float scale, MemorySegment factors, long row) {
        return factors.equals(MemorySegment.NULL) ? scale : factors.getAtIndex(JAVA_FLOAT, row) * scale;
    }

    @Override
    public void meanRows(MemorySegment x, int rows, int width, MemorySegment out) {
        for (int c = 0; c < width; c++) {
            float sum = 0;
            for (int r = 0; r < rows; r++) {
                sum += x.getAtIndex(JAVA_FLOAT, (long) r * width + c);
            }
            out.setAtIndex(JAVA_FLOAT, c, sum / rows);
        }
    }

    private void clearLanes() {
        java.util.Arrays.fill(lanes, 0f);
    }

    /** Folds the {@link #LANES} lanes from there on in halves; they are overwritten. */
    static float fold(float[] lanes, int from) {
        for (int half = LANES / 2; half > 0; half /= 2) {
            for (int j = from; j < from + half; j++) {
                lanes[j] += lanes[j + half];
            }
        }
        return lanes[from];
    }

    static float rawValue(MemorySegment raw, long index, boolean integer) {
        return integer ? (float) raw.getAtIndex(JAVA_INT, index) : raw.getAtIndex(JAVA_FLOAT, index);
    }

    static float value(MemorySegment raw, long index, int column, Product product) {
        if (!product.integer()) {
            return raw.getAtIndex(JAVA_FLOAT, index) + product.bias().getAtIndex(JAVA_FLOAT, column);
        }
        return affine(raw, index, column, product.scale(), product.offset());
    }

    private static float affine(MemorySegment raw, long index, int column, MemorySegment scale, MemorySegment offset) {
        return (float) raw.getAtIndex(JAVA_INT, index) * scale.getAtIndex(JAVA_FLOAT, column)
                + offset.getAtIndex(JAVA_FLOAT, column);
    }

    static void store(MemorySegment out, long index, float value, Operand operand) {
        if (operand.integer) {
            int code = ScalarMath.code(value, operand.inverseScale, operand.low, operand.high, operand.zeroPoint);
            if (operand.wide) {
                out.setAtIndex(JAVA_SHORT, index, (short) code);
            } else {
                LevelTable levels = operand.levels;
                out.set(JAVA_BYTE, index, levels == null ? (byte) code : levels.level(code));
            }
        } else {
            out.setAtIndex(JAVA_FLOAT, index, value);
        }
    }
}
