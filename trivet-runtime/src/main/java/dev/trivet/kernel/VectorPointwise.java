package dev.trivet.kernel;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.ShortVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShape;
import jdk.incubator.vector.VectorSpecies;

/**
 * {@link Pointwise} with the Vector API, bit for bit equal to {@link ReferencePointwise}: every lane performs the reference's
 * sequence of operations, and sums follow its 16 striped lanes with one, two or four registers.
 *
 * <p>Ragged row ends: what is computed element by element runs once more on the last full register's worth, which overlaps
 * the one before and writes the same values again; masks cost several times as much. Sums and in-place additions must not see
 * an element twice and use a mask at the end. Rows shorter than a register go to the reference.
 */
final class VectorPointwise implements Pointwise {
    private static final VectorSpecies<Float> F = FloatVector.SPECIES_PREFERRED;
    private static final VectorSpecies<Integer> I = IntVector.SPECIES_PREFERRED;
    private static final int L = F.length();
    private static final int LANES = ReferencePointwise.LANES;
    private static final ByteOrder ORDER = ByteOrder.nativeOrder();

    /** Registers hold 4, 8 or 16 floats; other widths (SVE) would break the striping. */
    static final boolean SUPPORTED = L == 4 || L == 8 || L == 16;

    /** @throws UnsupportedOperationException if the machine's registers cannot follow the reference's order of sums */
    static void requireSupported() {
        if (!SUPPORTED) {
            throw new UnsupportedOperationException("vector registers of " + L + " floats");
        }
    }

    /** One byte per float lane. With 4 float lanes no such byte species exists and bytes are stored one by one. */
    private static final VectorSpecies<Byte> B =
            L < 8 ? ByteVector.SPECIES_64 : VectorSpecies.of(byte.class, VectorShape.forBitSize(L * 8));

    private static final VectorSpecies<Short> S = VectorSpecies.of(short.class, VectorShape.forBitSize(L * 16));

    private final ReferencePointwise reference = new ReferencePointwise();
    private final float[] lanes = new float[LANES];
    private final int[] codes = new int[LANES];
    private float[] row = new float[0];

    @Override
    public void encode(MemorySegment x, int count, Operand operand, MemorySegment out) {
        int channels = operand.channels(count);
        if (channels < L) {
            reference.encode(x, count, operand, out);
            return;
        }
        for (int base = 0; base < count; base += channels) {
            for (int c = 0; c <= channels - L; c += L) {
                store(equalized(load(x, base + c), c, operand), out, base + c, operand);
            }
            int last = channels - L;
            store(equalized(load(x, base + last), last, operand), out, base + last, operand);
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
        if (width < L) {
            reference.layerNorm(x, rows, width, gamma, beta, epsilon, operand, out);
            return;
        }
        for (int r = 0; r < rows; r++) {
            long base = (long) r * width;
            float mean = sum(x, base, width) / width;
            float inverse = ReferencePointwise.inverseDeviation(squares(x, base, width, mean), width, epsilon);
            for (int c = 0; c <= width - L; c += L) {
                store(normal(x, base, c, mean, inverse, gamma, beta), out, base + c, operand);
            }
            if (width % L != 0) {
                int c = width - L;
                store(normal(x, base, c, mean, inverse, gamma, beta), out, base + c, operand);
            }
        }
    }

    private static FloatVector normal(
            MemorySegment x, long base, int c, float mean, float inverse, MemorySegment gamma, MemorySegment beta) {
        return load(x, base + c).sub(mean).mul(inverse).fma(load(gamma, c), load(beta, c));
    }

    @Override
    public void decode(MemorySegment raw, int rows, Product product, MemorySegment out) {
        int columns = product.columns();
        if (columns < L) {
            reference.decode(raw, rows, product, out);
            return;
        }
        for (int r = 0; r < rows; r++) {
            long base = (long) r * columns;
            for (int c = 0; c <= columns - L; c += L) {
                value(raw, base + c, c, product).intoMemorySegment(out, 4 * (base + c), ORDER);
            }
            if (columns % L != 0) {
                int c = columns - L;
                value(raw, base + c, c, product).intoMemorySegment(out, 4 * (base + c), ORDER);
            }
        }
    }

    @Override
    public void addTo(MemorySegment raw, int rows, Product product, MemorySegment residual) {
        int columns = product.columns();
        if (columns < L) {
            reference.addTo(raw, rows, product, residual);
            return;
        }
        int rest = columns % L;
        VectorMask<Float> overlap = F.indexInRange(rest, L);
        for (int r = 0; r < rows; r++) {
            long base = (long) r * columns;
            for (int c = 0; c <= columns - L; c += L) {
                long i = base + c;
                load(residual, i).add(value(raw, i, c, product)).intoMemorySegment(residual, 4 * i, ORDER);
            }
            if (rest != 0) {
                // The last full register's worth; its first lanes are done and keep what they have.
                long i = base + columns - L;
                FloatVector done = load(residual, i);
                FloatVector sum = done.add(value(raw, i, columns - L, product));
                sum.blend(done, overlap).intoMemorySegment(residual, 4 * i, ORDER);
            }
        }
    }

    @Override
    public void gelu(MemorySegment raw, int rows, Product product, Operand operand, MemorySegment out) {
        int columns = product.columns();
        if (columns < L) {
            reference.gelu(raw, rows, product, operand, out);
            return;
        }
        for (int r = 0; r < rows; r++) {
            long base = (long) r * columns;
            for (int c = 0; c <= columns - L; c += L) {
                store(gelu(value(raw, base + c, c, product)), out, base + c, operand);
            }
            if (columns % L != 0) {
                int c = columns - L;
                store(gelu(value(raw, base + c, c, product)), out, base + c, operand);
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
        if (shape.headWidth() < L) {
            reference.splitHeads(raw, shape, product, operands, query, key, value);
            return;
        }
        splitGroup(raw, shape, product, 0, operands.query(), query);
        splitGroup(raw, shape, product, shape.width(), operands.key(), key);
        splitGroup(raw, shape, product, 2 * shape.width(), operands.value(), value);
    }

    private void splitGroup(
            MemorySegment raw, AttentionShape shape, Product product, int column, Operand operand, MemorySegment out) {
        int headWidth = shape.headWidth();
        for (int row = 0; row < shape.images() * shape.tokens(); row++) {
            long from = (long) row * 3 * shape.width();
            for (int head = 0; head < shape.heads(); head++) {
                long to = shape.headRow(row, head) * headWidth;
                int first = column + head * headWidth;
                for (int c = 0; c <= headWidth - L; c += L) {
                    store(value(raw, from + first + c, first + c, product), out, to + c, operand);
                }
                if (headWidth % L != 0) {
                    int c = headWidth - L;
                    store(value(raw, from + first + c, first + c, product), out, to + c, operand);
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
        if (row.length < columns + LANES) {
            row = new float[columns + LANES];
        }
    }

    /** Writes the softmax of {@link #row}, whose largest value is given, or its numerators with their factor. */
    private void softmaxRow(
            int columns, float highest, Operand operand, MemorySegment out, long base, MemorySegment factors) {
        boolean probabilities = factors.equals(MemorySegment.NULL);
        float sum = exponentials(columns, highest);
        float inverse = probabilities ? 1f / sum : 1f;
        for (int c = 0; c <= columns - L; c += L) {
            store(FloatVector.fromArray(F, row, c).mul(inverse), out, base + c, operand);
        }
        if (columns % L != 0) {
            int c = columns - L;
            store(FloatVector.fromArray(F, row, c).mul(inverse), out, base + c, operand);
        }
        if (!probabilities) {
            float factor = 1f / ReferencePointwise.sumOfCodes(out, base, columns, operand);
            factors.setAtIndex(JAVA_FLOAT, base / columns, factor);
        }
    }

    /** Leaves {@code raw * scale} in {@link #row} and gives its largest value. */
    private float scaledRow(MemorySegment raw, long base, boolean integer, int columns, float scale) {
        FloatVector highest = FloatVector.broadcast(F, Float.NEGATIVE_INFINITY);
        for (int c = 0; c <= columns - L; c += L) {
            FloatVector scaled = rawValue(raw, base + c, integer).mul(scale);
            scaled.intoArray(row, c);
            highest = highest.max(scaled);
        }
        if (columns % L != 0) {
            FloatVector scaled = rawValue(raw, base + columns - L, integer).mul(scale);
            scaled.intoArray(row, columns - L);
            highest = highest.max(scaled);
        }
        return highest.reduceLanes(VectorOperators.MAX);
    }

    /**
     * Replaces {@link #row} by {@code exp(row - highest)} and gives the striped sum. The row is padded to whole stripes with
     * minus infinity, whose exponential is written as 0 and so changes no sum.
     */
    private float exponentials(int columns, float highest) {
        int padded = Math.ceilDiv(columns, LANES) * LANES;
        java.util.Arrays.fill(row, columns, padded, Float.NEGATIVE_INFINITY);
        FloatVector a0 = FloatVector.zero(F);
        FloatVector a1 = a0;
        FloatVector a2 = a0;
        FloatVector a3 = a0;
        for (int c = 0; c < padded; c += LANES) {
            a0 = a0.add(exponentialAt(c, highest));
            if (L <= 8) {
                a1 = a1.add(exponentialAt(c + L, highest));
            }
            if (L <= 4) {
                a2 = a2.add(exponentialAt(c + 2 * L, highest));
                a3 = a3.add(exponentialAt(c + 3 * L, highest));
            }
        }
        return fold(a0, a1, a2, a3);
    }

    private FloatVector exponentialAt(int c, float highest) {
        FloatVector x = FloatVector.fromArray(F, row, c);
        FloatVector e = exp(x.sub(highest)).blend(0f, x.compare(VectorOperators.EQ, Float.NEGATIVE_INFINITY));
        e.intoArray(row, c);
        return e;
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
        if (columns < L) {
            reference.softmaxNumerators(raw, integer, rows, columns, scale, operand, out, factors);
            return;
        }
        reserveRow(columns);
        for (int r = 0; r < rows; r++) {
            long base = (long) r * columns;
            float highest = scaledRow(raw, base, integer, columns, scale);
            softmaxRow(columns, highest, operand, out, base, factors);
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
        int headWidth = shape.headWidth();
        if (headWidth < L) {
            reference.mergeNormalizedHeads(raw, shape, scale, factors, operand, out);
            return;
        }
        mergeHeads(raw, true, shape, scale, factors, operand, out);
    }

    private void mergeHeads(
            MemorySegment raw,
            boolean integer,
            AttentionShape shape,
            float scale,
            MemorySegment factors,
            Operand operand,
            MemorySegment out) {
        for (int row = 0; row < shape.images() * shape.tokens(); row++) {
            for (int head = 0; head < shape.heads(); head++) {
                long headRow = shape.headRow(row, head);
                float step = ReferencePointwise.step(scale, factors, headRow);
                long to = (long) row * shape.width() + head * shape.headWidth();
                mergeRow(raw, headRow * shape.headWidth(), integer, step, shape.headWidth(), operand, out, to);
            }
        }
    }

    private void mergeRow(
            MemorySegment raw,
            long from,
            boolean integer,
            float step,
            int headWidth,
            Operand operand,
            MemorySegment out,
            long to) {
        for (int c = 0; c <= headWidth - L; c += L) {
            store(rawValue(raw, from + c, integer).mul(step), out, to + c, operand);
        }
        if (headWidth % L != 0) {
            int c = headWidth - L;
            store(rawValue(raw, from + c, integer).mul(step), out, to + c, operand);
        }
    }

    @Override
    public void mergeHeads(
            MemorySegment raw, boolean integer, AttentionShape shape, float scale, Operand operand, MemorySegment out) {
        int headWidth = shape.headWidth();
        if (headWidth < L) {
            reference.mergeHeads(raw, integer, shape, scale, operand, out);
            return;
        }
        mergeHeads(raw, integer, shape, scale, MemorySegment.NULL, operand, out);
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
        if (shape.headWidth() < L) {
            reference.splitWindows(raw, shape, product, operands, query, key, value);
            return;
        }
        splitWindowGroup(raw, shape, product, 0, operands.query(), query);
        splitWindowGroup(raw, shape, product, shape.width(), operands.key(), key);
        splitWindowGroup(raw, shape, product, 2 * shape.width(), operands.value(), value);
    }

    private void splitWindowGroup(
            MemorySegment raw, WindowShape shape, Product product, int column, Operand operand, MemorySegment out) {
        int headWidth = shape.headWidth();
        for (int image = 0; image < shape.images(); image++) {
            for (int i = 0; i < shape.source().length; i++) {
                int token = shape.source()[i];
                long from = ((long) image * shape.tokens() + token) * 3 * shape.width();
                for (int head = 0; head < shape.heads(); head++) {
                    long to = shape.headRow(image, i, head) * headWidth;
                    int first = column + head * headWidth;
                    for (int c = 0; c <= headWidth - L; c += L) {
                        store(projected(raw, from, token, first + c, product), out, to + c, operand);
                    }
                    if (headWidth % L != 0) {
                        int c = headWidth - L;
                        store(projected(raw, from, token, first + c, product), out, to + c, operand);
                    }
                }
            }
        }
    }

    private static FloatVector projected(MemorySegment raw, long from, int token, int column, Product product) {
        return token < 0 ? load(product.bias(), column) : value(raw, from + column, column, product);
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
        if (n < L) {
            reference.softmaxWindows(raw, integer, shape, scale, bias, operand, out, factors);
            return;
        }
        reserveRow(n);
        for (int b = 0; b < shape.batch(); b++) {
            int head = b % shape.heads();
            int window = b / shape.heads() % shape.windows();
            boolean masked = bias.masked()[window];
            for (int r = 0; r < n; r++) {
                long base = ((long) b * n + r) * n;
                long relative = ((long) head * n + r) * n;
                long mask = ((long) window * n + r) * n;
                FloatVector highest = FloatVector.broadcast(F, Float.NEGATIVE_INFINITY);
                for (int c = 0; c <= n - L; c += L) {
                    FloatVector score = score(raw, base + c, integer, scale, bias, relative + c, masked, mask + c);
                    score.intoArray(row, c);
                    highest = highest.max(score);
                }
                if (n % L != 0) {
                    int c = n - L;
                    FloatVector score = score(raw, base + c, integer, scale, bias, relative + c, masked, mask + c);
                    score.intoArray(row, c);
                    highest = highest.max(score);
                }
                softmaxRow(n, highest.reduceLanes(VectorOperators.MAX), operand, out, base, factors);
            }
        }
    }

    private static FloatVector score(
            MemorySegment raw,
            long index,
            boolean integer,
            float scale,
            ScoreBias bias,
            long relative,
            boolean masked,
            long mask) {
        FloatVector score =
                rawValue(raw, index, integer).fma(FloatVector.broadcast(F, scale), load(bias.relative(), relative));
        return masked ? score.add(load(bias.mask(), mask)) : score;
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
        int headWidth = shape.headWidth();
        if (headWidth < L) {
            reference.mergeWindows(raw, integer, shape, scale, factors, operand, out);
            return;
        }
        for (int image = 0; image < shape.images(); image++) {
            for (int i = 0; i < shape.source().length; i++) {
                int token = shape.source()[i];
                for (int head = 0; token >= 0 && head < shape.heads(); head++) {
                    long headRow = shape.headRow(image, i, head);
                    float step = ReferencePointwise.step(scale, factors, headRow);
                    long to = ((long) image * shape.tokens() + token) * shape.width() + head * headWidth;
                    mergeRow(raw, headRow * headWidth, integer, step, headWidth, operand, out, to);
                }
            }
        }
    }

    @Override
    public void meanRows(MemorySegment x, int rows, int width, MemorySegment out) {
        if (width < L) {
            reference.meanRows(x, rows, width, out);
            return;
        }
        for (int c = 0; c <= width - L; c += L) {
            meanAt(x, rows, width, c).intoMemorySegment(out, 4L * c, ORDER);
        }
        meanAt(x, rows, width, width - L).intoMemorySegment(out, 4L * (width - L), ORDER);
    }

    private static FloatVector meanAt(MemorySegment x, int rows, int width, int c) {
        FloatVector sum = FloatVector.zero(F);
        for (int r = 0; r < rows; r++) {
            sum = sum.add(load(x, (long) r * width + c));
        }
        return sum.div(rows);
    }

    private float sum(MemorySegment x, long base, int width) {
        FloatVector a0 = FloatVector.zero(F);
        FloatVector a1 = a0;
        FloatVector a2 = a0;
        FloatVector a3 = a0;
        int whole = width - width % LANES;
        for (int c = 0; c < whole; c += LANES) {
            a0 = a0.add(load(x, base + c));
            if (L <= 8) {
                a1 = a1.add(load(x, base + c + L));
            }
            if (L <= 4) {
                a2 = a2.add(load(x, base + c + 2 * L));
                a3 = a3.add(load(x, base + c + 3 * L));
            }
        }
        spread(a0, a1, a2, a3);
        for (int c = whole; c < width; c++) {
            lanes[c - whole] += x.getAtIndex(JAVA_FLOAT, base + c);
        }
        return ReferencePointwise.fold(lanes);
    }

    private float squares(MemorySegment x, long base, int width, float mean) {
        FloatVector a0 = FloatVector.zero(F);
        FloatVector a1 = a0;
        FloatVector a2 = a0;
        FloatVector a3 = a0;
        int whole = width - width % LANES;
        for (int c = 0; c < whole; c += LANES) {
            a0 = addSquare(a0, x, base + c, mean);
            if (L <= 8) {
                a1 = addSquare(a1, x, base + c + L, mean);
            }
            if (L <= 4) {
                a2 = addSquare(a2, x, base + c + 2 * L, mean);
                a3 = addSquare(a3, x, base + c + 3 * L, mean);
            }
        }
        spread(a0, a1, a2, a3);
        for (int c = whole; c < width; c++) {
            float d = x.getAtIndex(JAVA_FLOAT, base + c) - mean;
            lanes[c - whole] = Math.fma(d, d, lanes[c - whole]);
        }
        return ReferencePointwise.fold(lanes);
    }

    private static FloatVector addSquare(FloatVector sum, MemorySegment x, long index, float mean) {
        FloatVector d = load(x, index).sub(mean);
        return d.fma(d, sum);
    }

    private float fold(FloatVector a0, FloatVector a1, FloatVector a2, FloatVector a3) {
        spread(a0, a1, a2, a3);
        return ReferencePointwise.fold(lanes);
    }

    private void spread(FloatVector a0, FloatVector a1, FloatVector a2, FloatVector a3) {
        a0.intoArray(lanes, 0);
        if (L <= 8) {
            a1.intoArray(lanes, L);
        }
        if (L <= 4) {
            a2.intoArray(lanes, 2 * L);
            a3.intoArray(lanes, 3 * L);
        }
    }

    private static FloatVector load(MemorySegment x, long index) {
        return FloatVector.fromMemorySegment(F, x, 4 * index, ORDER);
    }

    private static FloatVector rawValue(MemorySegment raw, long index, boolean integer) {
        if (!integer) {
            return load(raw, index);
        }
        IntVector sums = IntVector.fromMemorySegment(I, raw, 4 * index, ORDER);
        return (FloatVector) sums.convert(VectorOperators.I2F, 0);
    }

    private static FloatVector value(MemorySegment raw, long index, int column, Product product) {
        FloatVector bias = load(product.bias(), column);
        if (!product.integer()) {
            return load(raw, index).add(bias);
        }
        IntVector sums = IntVector.fromMemorySegment(I, raw, 4 * index, ORDER)
                .sub(IntVector.fromMemorySegment(I, product.correction(), 4L * column, ORDER));
        FloatVector converted = (FloatVector) sums.convert(VectorOperators.I2F, 0);
        return converted.fma(load(product.scale(), column), bias);
    }

    private static FloatVector equalized(FloatVector v, int column, Operand operand) {
        float[] factor = operand.factor;
        float[] offset = operand.offset;
        return factor == null || offset == null
                ? v
                : v.fma(FloatVector.fromArray(F, factor, column), FloatVector.fromArray(F, offset, column));
    }

    private void store(FloatVector v, MemorySegment out, long index, Operand operand) {
        if (!operand.integer) {
            v.intoMemorySegment(out, 4 * index, ORDER);
            return;
        }
        FloatVector steps = v.mul(operand.inverseScale).max(operand.low).min(operand.high);
        FloatVector rounded = steps.add(ScalarMath.ROUND).sub(ScalarMath.ROUND);
        IntVector code = ((IntVector) rounded.convert(VectorOperators.F2I, 0)).add(operand.zeroPoint);
        byte[] levels = operand.levels;
        if (operand.wide) {
            ((ShortVector) code.castShape(S, 0)).intoMemorySegment(out, 2 * index, ORDER);
        } else if (L >= 8 && levels == null) {
            ((ByteVector) code.castShape(B, 0)).intoMemorySegment(out, index, ORDER);
        } else {
            code.intoArray(codes, 0);
            for (int j = 0; j < L; j++) {
                out.set(JAVA_BYTE, index + j, levels == null ? (byte) codes[j] : levels[codes[j] & 0xff]);
            }
        }
    }

    /** {@link ScalarMath#exp} on each lane. */
    private static FloatVector exp(FloatVector x) {
        FloatVector clamped = x.max(ScalarMath.LOWEST_EXPONENT);
        FloatVector n = clamped.mul(ScalarMath.LOG2_E).add(ScalarMath.ROUND).sub(ScalarMath.ROUND);
        FloatVector r = n.fma(FloatVector.broadcast(F, -ScalarMath.LN2_HIGH), clamped);
        r = n.fma(FloatVector.broadcast(F, -ScalarMath.LN2_LOW), r);
        FloatVector p = FloatVector.broadcast(F, ScalarMath.E5);
        p = p.fma(r, FloatVector.broadcast(F, ScalarMath.E4));
        p = p.fma(r, FloatVector.broadcast(F, ScalarMath.E3));
        p = p.fma(r, FloatVector.broadcast(F, ScalarMath.E2));
        p = p.fma(r, FloatVector.broadcast(F, ScalarMath.E1));
        p = p.fma(r, FloatVector.broadcast(F, ScalarMath.E0));
        FloatVector y = p.fma(r.mul(r), r).add(1f);
        IntVector exponent =
                ((IntVector) n.convert(VectorOperators.F2I, 0)).add(127).lanewise(VectorOperators.LSHL, 23);
        return y.mul(exponent.reinterpretAsFloats());
    }

    /** {@link ScalarMath#gelu} on each lane. */
    private static FloatVector gelu(FloatVector x) {
        FloatVector magnitude = x.abs();
        FloatVector z = magnitude.mul(ScalarMath.HALF_SQRT2);
        FloatVector one = FloatVector.broadcast(F, 1f);
        FloatVector t = one.div(z.fma(FloatVector.broadcast(F, ScalarMath.P), one));
        FloatVector p = t.fma(FloatVector.broadcast(F, ScalarMath.A5), FloatVector.broadcast(F, ScalarMath.A4));
        p = p.fma(t, FloatVector.broadcast(F, ScalarMath.A3));
        p = p.fma(t, FloatVector.broadcast(F, ScalarMath.A2));
        p = p.fma(t, FloatVector.broadcast(F, ScalarMath.A1));
        FloatVector q = p.mul(t).mul(exp(z.mul(z).neg()));
        FloatVector half = magnitude.mul(0.5f).mul(q);
        return x.max(0f).sub(half);
    }
}
