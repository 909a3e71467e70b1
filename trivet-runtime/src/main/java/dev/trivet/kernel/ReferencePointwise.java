package dev.trivet.kernel;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import java.lang.foreign.MemorySegment;
import java.util.Arrays;

/**
 * The definition of {@link Pointwise}, in plain scalar Java: a {@link ScalarRow} takes values in, changes them one by one and writes them
 * out. Needs no Vector API, so it is also what runs until that is compiled, see {@link Kernels#openColdWorkspace}.
 */
final class ReferencePointwise implements Pointwise {
    private final ScalarRow row = new ScalarRow();
    /** Per-channel constants of the pass at hand. */
    private float[] first = new float[0];

    private float[] second = new float[0];
    /** A row that is added. */
    private float[] third = new float[0];

    /** Values that are taken at a time where rows do not matter. */
    private static final int CHUNK = 1024;

    @Override
    public void encode(MemorySegment x, int count, Operand operand, MemorySegment out) {
        int step = operand.channels(CHUNK);
        row.reserve(step);
        for (int base = 0; base < count; base += step) {
            int n = Math.min(step, count - base);
            row.load(x, false, base, 0, n);
            float[] values = row.values();
            for (int i = 0; i < n; i++) {
                values[i] = operand.equalized(values[i], i);
            }
            row.store(0, n, operand, out, base);
        }
    }

    @Override
    public void layerNorm(
            MemorySegment x,
            int stride,
            int rows,
            int width,
            MemorySegment gamma,
            MemorySegment beta,
            float epsilon,
            Operand operand,
            MemorySegment out) {
        row.reserve(width);
        first = copy(gamma, 0, width, first);
        second = copy(beta, 0, width, second);
        for (int r = 0; r < rows; r++) {
            row.load(x, false, (long) r * stride, 0, width);
            float mean = row.sum(width) / width;
            float inverse = inverseDeviation(row.squares(width, mean), width, epsilon);
            row.normalize(width, mean, inverse, first, second);
            row.store(0, width, operand, out, (long) r * operand.stride(width));
        }
    }

    static float inverseDeviation(float squares, int width, float epsilon) {
        return 1f / (float) Math.sqrt(squares / width + epsilon);
    }

    /** Floats of a segment, in the array if they fit in it. */
    private static float[] copy(MemorySegment from, long first, int count, float[] known) {
        float[] to = known.length < count ? new float[count] : known;
        MemorySegment.copy(from, JAVA_FLOAT, 4 * first, to, 0, count);
        return to;
    }

    /** Makes ready for {@link #loadValues}. */
    private void prepare(Product product) {
        int columns = product.columns();
        row.reserve(columns);
        if (product.integer()) {
            first = copy(product.scale(), 0, columns, first);
        }
        second = copy(product.integer() ? product.offset() : product.bias(), 0, columns, second);
    }

    /** The values of a linear's raw row, which begins at {@code from}. */
    private void loadValues(MemorySegment raw, long from, Product product) {
        row.loadAffine(raw, from, product.integer() ? first : null, second, product.columns());
    }

    @Override
    public void decode(MemorySegment raw, int rows, Product product, MemorySegment out) {
        prepare(product);
        for (int r = 0; r < rows; r++) {
            long base = (long) r * product.columns();
            loadValues(raw, base, product);
            row.store(0, product.columns(), Operand.FLOAT, out, base);
        }
    }

    @Override
    public void addTo(MemorySegment raw, int rows, Product product, MemorySegment residual, int stride) {
        int columns = product.columns();
        prepare(product);
        for (int r = 0; r < rows; r++) {
            long base = (long) r * stride;
            loadValues(raw, (long) r * columns, product);
            third = copy(residual, base, columns, third);
            row.add(third, columns);
            row.store(0, columns, Operand.FLOAT, residual, base);
        }
    }

    @Override
    public void gelu(MemorySegment raw, int rows, Product product, Operand operand, MemorySegment out) {
        prepare(product);
        for (int r = 0; r < rows; r++) {
            long base = (long) r * product.columns();
            loadValues(raw, base, product);
            geluRow(product.columns(), operand, out, (long) r * operand.stride(product.columns()));
        }
    }

    /** Writes GELU of {@link #row}, which is overwritten. */
    private void geluRow(int count, Operand operand, MemorySegment out, long base) {
        if (operand.isByte()) {
            row.geluSteps(count, operand);
            row.store(0, count, operand.steps, out, base);
        } else {
            row.gelu(count);
            row.store(0, count, operand, out, base);
        }
    }

    @Override
    public void gelu(
            MemorySegment values,
            int valueStride,
            int rows,
            int columns,
            Operand operand,
            MemorySegment out,
            int first,
            int stride) {
        row.reserve(CHUNK);
        for (int r = 0; r < rows; r++) {
            long to = (long) r * stride + first;
            for (int base = 0; base < columns; base += CHUNK) {
                int n = Math.min(CHUNK, columns - base);
                row.load(values, false, (long) r * valueStride + base, 0, n);
                geluRow(n, operand, out, to + base);
            }
        }
    }

    @Override
    public void requantize(MemorySegment raw, int rows, Requantization requantization, MemorySegment out) {
        int columns = requantization.columns();
        row.reserve(columns);
        first = copy(requantization.scale(), 0, columns, first);
        second = copy(requantization.offset(), 0, columns, second);
        for (int r = 0; r < rows; r++) {
            long base = (long) r * columns;
            row.loadAffine(raw, base, first, second, columns);
            row.storeCodes(columns, Requantization.LOW, Requantization.HIGH, out, (long) r * requantization.stride());
        }
    }

    @Override
    public void splitHeads(
            MemorySegment codes, AttentionShape shape, MemorySegment query, MemorySegment key, MemorySegment value) {
        int width = shape.width();
        int headWidth = shape.headWidth();
        for (int r = 0; r < shape.images() * shape.rows(); r++) {
            for (int head = 0; head < shape.heads(); head++) {
                long from = 3L * r * width + (long) head * headWidth;
                long to = shape.keyRow(r, head) * headWidth;
                MemorySegment.copy(codes, from, query, shape.headRow(r, head) * headWidth, headWidth);
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
        row.reserve(3 * width);
        row.load(product.bias(), false, 0, 0, 3 * width);
        for (int image = 0; image < shape.images(); image++) {
            for (int i = 0; i < shape.source().length; i++) {
                int token = shape.source()[i];
                for (int head = 0; shape.has(token) && head < shape.heads(); head++) {
                    long headRow = shape.headRow(image, i, head);
                    if (token < 0) {
                        storeHead(head * headWidth, width, headRow, headRow, headWidth, operands, query, key, value);
                    } else {
                        long from = shape.row(image, token) * 3 * width + (long) head * headWidth;
                        long to = headRow * headWidth;
                        MemorySegment.copy(codes, from, query, to, headWidth);
                        MemorySegment.copy(codes, from + width, key, to, headWidth);
                        MemorySegment.copy(codes, from + 2L * width, value, to, headWidth);
                    }
                }
            }
        }
    }

    /** Writes one head of the queries, keys and values that {@link #row} holds. */
    private void storeHead(
            int column,
            int width,
            long queryRow,
            long keyRow,
            int headWidth,
            AttentionOperands operands,
            MemorySegment query,
            MemorySegment key,
            MemorySegment value) {
        row.store(column, headWidth, operands.query(), query, queryRow * headWidth);
        row.store(width + column, headWidth, operands.key(), key, keyRow * headWidth);
        row.store(2 * width + column, headWidth, operands.value(), value, keyRow * headWidth);
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
        int headWidth = shape.headWidth();
        prepare(product);
        for (int r = 0; r < shape.images() * shape.rows(); r++) {
            loadValues(raw, 3L * r * width, product);
            for (int head = 0; head < shape.heads(); head++) {
                long from = shape.headRow(r, head);
                long to = shape.keyRow(r, head);
                storeHead(head * headWidth, width, from, to, headWidth, operands, query, key, value);
            }
        }
    }

    @Override
    public void softmax(
            MemorySegment raw,
            boolean integer,
            int rows,
            int columns,
            int stride,
            float scale,
            Operand operand,
            MemorySegment out) {
        softmaxNumerators(raw, integer, rows, columns, stride, scale, operand, out, MemorySegment.NULL);
    }

    @Override
    public void softmaxNumerators(
            MemorySegment raw,
            boolean integer,
            int rows,
            int columns,
            int stride,
            float scale,
            Operand operand,
            MemorySegment out,
            MemorySegment factors) {
        row.reserve(columns);
        for (int r = 0; r < rows; r++) {
            long base = (long) r * stride;
            row.load(raw, integer, base, 0, columns);
            softmaxRow(columns, scale, operand, out, base, factors, r);
            clear(operand, out, base + columns, base + stride);
        }
    }

    /** Sets some elements to zero. */
    static void clear(Operand operand, MemorySegment out, long from, long end) {
        for (long i = from * operand.bytes(); i < end * operand.bytes(); i++) {
            out.set(JAVA_BYTE, i, (byte) 0);
        }
    }

    /**
     * Probabilities of {@link #row} times a scale, or their numerators with their factor; the row is overwritten.
     *
     * @param at where the factor goes
     */
    private void softmaxRow(
            int columns, float scale, Operand operand, MemorySegment out, long base, MemorySegment factors, long at) {
        boolean numerators = !factors.equals(MemorySegment.NULL);
        if (numerators && operand.isByte()) {
            row.decaySteps(columns, row.highest(columns), scale, operand.inverseScale);
            row.store(0, columns, operand.steps, out, base);
        } else {
            row.scale(0, columns, scale);
            row.exponentials(columns, row.highest(columns));
            if (!numerators) {
                row.scale(0, columns, 1f / row.sum(columns));
            }
            row.store(0, columns, operand, out, base);
        }
        if (numerators) {
            factors.setAtIndex(JAVA_FLOAT, at, 1f / row.sumOfCodes(columns, operand));
        }
    }

    @Override
    public void mergeNormalizedHeads(
            MemorySegment raw,
            AttentionShape shape,
            float scale,
            MemorySegment factors,
            Operand operand,
            MemorySegment out) {
        mergeHeads(raw, true, shape, scale, factors, operand, out);
    }

    @Override
    public void mergeHeads(
            MemorySegment raw, boolean integer, AttentionShape shape, float scale, Operand operand, MemorySegment out) {
        mergeHeads(raw, integer, shape, scale, MemorySegment.NULL, operand, out);
    }

    private void mergeHeads(
            MemorySegment raw,
            boolean integer,
            AttentionShape shape,
            float scale,
            MemorySegment factors,
            Operand operand,
            MemorySegment out) {
        int headWidth = shape.headWidth();
        row.reserve(shape.width());
        for (int r = 0; r < shape.images() * shape.rows(); r++) {
            for (int head = 0; head < shape.heads(); head++) {
                mergeHead(raw, integer, head, shape.headRow(r, head), headWidth, scale, factors);
            }
            row.store(0, shape.width(), operand, out, (long) r * operand.stride(shape.width()));
        }
    }

    /** Brings one head of a token into {@link #row}. */
    private void mergeHead(
            MemorySegment raw,
            boolean integer,
            int head,
            long headRow,
            int headWidth,
            float scale,
            MemorySegment factors) {
        float step = step(scale, factors, headRow);
        row.loadScaled(raw, integer, headRow * headWidth, step, head * headWidth, headWidth);
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
        prepare(product);
        for (int image = 0; image < shape.images(); image++) {
            for (int i = 0; i < shape.source().length; i++) {
                int token = shape.source()[i];
                if (!shape.has(token)) {
                    continue;
                }
                if (token < 0) {
                    row.load(product.bias(), false, 0, 0, 3 * width);
                } else {
                    loadValues(raw, shape.row(image, token) * 3 * width, product);
                }
                for (int head = 0; head < shape.heads(); head++) {
                    long headRow = shape.headRow(image, i, head);
                    storeHead(head * headWidth, width, headRow, headRow, headWidth, operands, query, key, value);
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
        row.reserve(n);
        for (int b = shape.firstProduct(); b < shape.endProduct(); b++) {
            int head = b % shape.heads();
            int window = b / shape.heads() % shape.windows();
            for (int r = 0; r < n; r++) {
                long base = ((long) (b - shape.firstProduct()) * n + r) * n;
                row.load(raw, integer, base, 0, n);
                first = copy(bias.relative(), ((long) head * n + r) * n, n, first);
                row.scaleAndAdd(scale, first, n);
                if (bias.masked()[window]) {
                    first = copy(bias.mask(), ((long) window * n + r) * n, n, first);
                    row.add(first, n);
                }
                softmaxRow(n, 1f, operand, out, base, factors, base / n);
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
        row.reserve(shape.width());
        for (int image = 0; image < shape.images(); image++) {
            for (int i = 0; i < shape.source().length; i++) {
                int token = shape.source()[i];
                if (token < 0 || !shape.has(token)) {
                    continue;
                }
                for (int head = 0; head < shape.heads(); head++) {
                    long headRow = shape.headRow(image, i, head);
                    mergeHead(raw, integer, head, headRow, shape.headWidth(), scale, factors);
                }
                row.store(0, shape.width(), operand, out, shape.row(image, token) * operand.stride(shape.width()));
            }
        }
    }

    /** What a row's sums are multiplied by. */
    static float step(float scale, MemorySegment factors, long row) {
        return factors.equals(MemorySegment.NULL) ? scale : factors.getAtIndex(JAVA_FLOAT, row) * scale;
    }

    @Override
    public void meanRows(MemorySegment x, int stride, int rows, int width, MemorySegment out) {
        row.reserve(width);
        float[] values = row.values();
        Arrays.fill(values, 0, width, 0f);
        for (int r = 0; r < rows; r++) {
            first = copy(x, (long) r * stride, width, first);
            row.add(first, width);
        }
        for (int c = 0; c < width; c++) {
            values[c] /= rows;
        }
        row.store(0, width, Operand.FLOAT, out, 0);
    }
}
