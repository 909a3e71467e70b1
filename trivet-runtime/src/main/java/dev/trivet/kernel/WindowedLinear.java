package dev.trivet.kernel;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShape;
import jdk.incubator.vector.VectorSpecies;

/**
 * Exact products of bytes by a product that adds pairs of neighbouring terms in saturating 16 bits, as x86 has them before VNNI
 * ({@code vpmaddubsw}): codes are cut to a window that cannot saturate, and the few outside it are made up for.
 *
 * <p>Let S be the most that two neighbouring weights of an output add up to, positive or negative ones apart. With codes of at most
 * {@code T = 32767 / S} no pair leaves 16 bits; S is at most 256, so T is at least 127. It is 255, and nothing has to be done, for weights
 * of 7 bits and less. Of the codes {@code a} most are in some window {@code b .. b + T}, because ranges reach to where few values are:
 *
 * <pre>a = b + t + o, t = clamp(a - b, 0, T)
 * sum a w = sum t w + b sum w + sum o w</pre>
 *
 * The first sum is the saturating product, the second is b times what is known, and the third has terms for codes outside the window only, each of
 * which costs several times what it costs in the product. The window is where most of a sample of the codes are, anew for each run; it decides on
 * the speed and not on the result. Where more than {@value #MOST_OUTSIDE} are outside of any window (noise, patches of pixels),
 * {@code a = min(a, T) + max(a - T, 0)} makes two products that do not saturate.
 *
 * <p>Products of two activations are {@link FloatCodes} on such a CPU: with sums of columns and a transposed copy anew for each, windows gain
 * nothing there ({@code docs/decisions.md}, "Bytes on AVX2").
 */
final class WindowedLinear implements Linear {
    // Slots below 5 belong to DigitProducts, 8 to OnednnLinear (weights that are kept packed). FloatCodes has 5 to 7,
    // too, but
    // neither runs within the other.
    private static final int WINDOWED = 5;
    private static final int OUTSIDE = 6;
    private static final int HISTOGRAM = 7;
    private static final int SECOND = 9;

    private static final int LEVELS = 256;
    private static final int SAMPLES = 1024;
    private static final double MOST_OUTSIDE = 0.12;
    /** Codes outside the window are noted, and made up for, so many at a time. */
    private static final int TOGETHER = 4;

    private static final VectorSpecies<Integer> I = IntVector.SPECIES_PREFERRED;
    private static final int L = I.length();
    private static final VectorSpecies<Byte> CODES = ByteVector.SPECIES_PREFERRED;
    /** As many bytes as a register holds ints; with fewer than 8 there is no such species, and bytes go one by one. */
    private static final VectorSpecies<Byte> WEIGHTS =
            L < 8 ? ByteVector.SPECIES_64 : VectorSpecies.of(byte.class, VectorShape.forBitSize(L * 8));

    private static final ByteOrder ORDER = ByteOrder.nativeOrder();

    private final Linear product;
    private final int outputs;
    private final int inputs;
    /** The largest code that cannot saturate, T. */
    private final int most;

    private final Arena arena = Arena.ofShared();
    /** {@code [inputs, outputs]}. */
    private final MemorySegment transposed;
    /** int32 {@code [outputs]}. */
    private final MemorySegment sums;

    private WindowedLinear(Linear product, MemorySegment codes, int outputs, int inputs, int most) {
        this.product = product;
        this.outputs = outputs;
        this.inputs = inputs;
        this.most = most;
        transposed = arena.allocate((long) inputs * outputs, 64);
        sums = arena.allocate(4L * outputs, 64);
        byte[] row = new byte[inputs];
        for (int n = 0; n < outputs; n++) {
            MemorySegment.copy(codes, JAVA_BYTE, (long) n * inputs, row, 0, inputs);
            int sum = 0;
            for (int k = 0; k < inputs; k++) {
                sum += row[k];
                transposed.set(JAVA_BYTE, (long) k * outputs + n, row[k]);
            }
            sums.setAtIndex(JAVA_INT, n, sum);
        }
    }

    /**
     * A product that is exact for all codes; the given one where no code can saturate.
     *
     * @param product of the same weights, exact where no pair leaves 16 bits; closed with the result
     * @param codes signed bytes {@code [outputs, inputs]}
     */
    static Linear of(Linear product, MemorySegment codes, int outputs, int inputs) {
        byte[] row = new byte[inputs];
        int pair = 1;
        for (int n = 0; n < outputs; n++) {
            MemorySegment.copy(codes, JAVA_BYTE, (long) n * inputs, row, 0, inputs);
            pair = Math.max(pair, largestPair(row));
        }
        int most = Short.MAX_VALUE / pair;
        if (most >= LEVELS - 1) {
            return product;
        }
        try {
            return new WindowedLinear(product, codes, outputs, inputs, most);
        } catch (Throwable e) { // no memory for what it adds
            product.close();
            throw e;
        }
    }

    @Override
    public void run(Workspace workspace, MemorySegment in, int rows, MemorySegment out) {
        long codes = (long) rows * inputs;
        int bottom = bottom(workspace, in, codes);
        MemorySegment windowed = workspace.scratch(WINDOWED, codes);
        window(in, codes, Math.max(bottom, 0), most, windowed);
        product.run(workspace, windowed, rows, out);
        if (bottom < 0) {
            long count = (long) rows * outputs;
            MemorySegment second = workspace.scratch(SECOND, 4 * count);
            window(in, codes, most, LEVELS - 1, windowed);
            product.run(workspace, windowed, rows, second);
            addAll(second, count, out);
            return;
        }
        MemorySegment outside = workspace.scratch(OUTSIDE, 4L * (inputs + TOGETHER - 1));
        for (int row = 0; row < rows; row++) {
            long at = (long) row * outputs;
            addSums(bottom, out, at);
            int count = outside(in, windowed, (long) row * inputs, bottom, outside);
            for (int i = 0; i < count; i += TOGETHER) {
                addFour(outside, i, out, at);
            }
        }
    }

    private static int largestPair(byte[] row) {
        int largest = 0;
        for (int k = 0; k < row.length; k += 2) {
            int a = row[k];
            int b = k + 1 < row.length ? row[k + 1] : 0;
            largest = Math.max(largest, Math.max(a, 0) + Math.max(b, 0));
            largest = Math.max(largest, -Math.min(a, 0) - Math.min(b, 0));
        }
        return largest;
    }

    /**
     * Where the window begins that holds most of a sample of the codes; the lowest of several.
     *
     * @return -1 if too many codes are outside
     */
    private int bottom(Workspace workspace, MemorySegment in, long codes) {
        MemorySegment histogram = workspace.scratch(HISTOGRAM, 4L * LEVELS);
        for (int level = 0; level < LEVELS; level++) {
            histogram.setAtIndex(JAVA_INT, level, 0);
        }
        long distance = codes / SAMPLES + 1;
        while (commonFactor(distance, inputs)) {
            distance++; // so that all channels have their turn
        }
        int samples = 0;
        for (long i = 0; i < codes; i += distance) {
            int code = in.get(JAVA_BYTE, i) & 0xff;
            histogram.setAtIndex(JAVA_INT, code, histogram.getAtIndex(JAVA_INT, code) + 1);
            samples++;
        }
        int inside = 0;
        for (int level = 0; level <= most; level++) {
            inside += histogram.getAtIndex(JAVA_INT, level);
        }
        int best = inside;
        int bottom = 0;
        for (int first = 1; first + most < LEVELS; first++) {
            inside += histogram.getAtIndex(JAVA_INT, first + most) - histogram.getAtIndex(JAVA_INT, first - 1);
            if (inside > best) {
                best = inside;
                bottom = first;
            }
        }
        return samples - best > MOST_OUTSIDE * samples ? -1 : bottom;
    }

    private static boolean commonFactor(long a, long b) {
        while (b != 0) {
            long rest = a % b;
            a = b;
            b = rest;
        }
        return a > 1;
    }

    /** {@code out = clamp(in - bottom, 0, most)}. */
    private static void window(MemorySegment in, long count, int bottom, int most, MemorySegment out) {
        long whole = count - count % CODES.length();
        byte low = (byte) bottom;
        byte high = (byte) most;
        for (long i = 0; i < whole; i += CODES.length()) {
            ByteVector.fromMemorySegment(CODES, in, i, ORDER)
                    .lanewise(VectorOperators.SUSUB, low)
                    .lanewise(VectorOperators.UMIN, high)
                    .intoMemorySegment(out, i, ORDER);
        }
        for (long i = whole; i < count; i++) {
            int code = (in.get(JAVA_BYTE, i) & 0xff) - bottom;
            out.set(JAVA_BYTE, i, (byte) Math.clamp(code, 0, most));
        }
    }

    /**
     * Finds the codes of a row that the window cut.
     *
     * @param out a note for each, its input and what was cut, {@code input * 512 + 256 + cut}; then some of nothing cut, to the next multiple of
     *     {@link #TOGETHER}
     * @return how many there are, the latter not counted
     */
    private int outside(MemorySegment in, MemorySegment windowed, long from, int bottom, MemorySegment out) {
        int whole = inputs - inputs % CODES.length();
        int found = 0;
        byte low = (byte) bottom;
        for (int k = 0; k < whole; k += CODES.length()) {
            ByteVector all = ByteVector.fromMemorySegment(CODES, in, from + k, ORDER);
            ByteVector part = ByteVector.fromMemorySegment(CODES, windowed, from + k, ORDER);
            long bits = all.sub(low).compare(VectorOperators.NE, part).toLong();
            while (bits != 0) {
                int input = k + Long.numberOfTrailingZeros(bits);
                out.setAtIndex(JAVA_INT, found++, note(in, windowed, from, input, bottom));
                bits &= bits - 1;
            }
        }
        for (int k = whole; k < inputs; k++) {
            if ((byte) (in.get(JAVA_BYTE, from + k) - low) != windowed.get(JAVA_BYTE, from + k)) {
                out.setAtIndex(JAVA_INT, found++, note(in, windowed, from, k, bottom));
            }
        }
        for (int i = found; i % TOGETHER != 0; i++) {
            out.setAtIndex(JAVA_INT, i, 256);
        }
        return found;
    }

    private static int note(MemorySegment in, MemorySegment windowed, long from, int input, int bottom) {
        int cut = (in.get(JAVA_BYTE, from + input) & 0xff) - bottom - (windowed.get(JAVA_BYTE, from + input) & 0xff);
        return input * 512 + 256 + cut;
    }

    /**
     * Adds the weights of noted inputs, times what was cut. Four at a time, so that sums are read and written a fourth as often; all outputs in one loop,
     * so that bounds are checked before it.
     */
    private void addFour(MemorySegment notes, int at, MemorySegment out, long to) {
        int a = notes.getAtIndex(JAVA_INT, at);
        int b = notes.getAtIndex(JAVA_INT, at + 1);
        int c = notes.getAtIndex(JAVA_INT, at + 2);
        int d = notes.getAtIndex(JAVA_INT, at + 3);
        long fromA = (long) (a >>> 9) * outputs;
        long fromB = (long) (b >>> 9) * outputs;
        long fromC = (long) (c >>> 9) * outputs;
        long fromD = (long) (d >>> 9) * outputs;
        int cutA = (a & 511) - 256;
        int cutB = (b & 511) - 256;
        int cutC = (c & 511) - 256;
        int cutD = (d & 511) - 256;
        int whole = L < 8 ? 0 : outputs - outputs % L;
        for (int n = 0; n < whole; n += L) {
            IntVector first =
                    weights(fromA + n).mul(cutA).add(weights(fromB + n).mul(cutB));
            IntVector second =
                    weights(fromC + n).mul(cutC).add(weights(fromD + n).mul(cutD));
            IntVector.fromMemorySegment(I, out, 4 * (to + n), ORDER)
                    .add(first.add(second))
                    .intoMemorySegment(out, 4 * (to + n), ORDER);
        }
        for (int n = whole; n < outputs; n++) {
            int first = cutA * weight(fromA + n) + cutB * weight(fromB + n);
            int second = cutC * weight(fromC + n) + cutD * weight(fromD + n);
            out.setAtIndex(JAVA_INT, to + n, out.getAtIndex(JAVA_INT, to + n) + first + second);
        }
    }

    private IntVector weights(long from) {
        return ByteVector.fromMemorySegment(WEIGHTS, transposed, from, ORDER)
                .convertShape(VectorOperators.B2I, I, 0)
                .reinterpretAsInts();
    }

    private int weight(long from) {
        return transposed.get(JAVA_BYTE, from);
    }

    /** {@code out += factor * sums}. */
    private void addSums(int factor, MemorySegment out, long at) {
        if (factor == 0) {
            return;
        }
        int whole = outputs - outputs % L;
        for (int n = 0; n < whole; n += L) {
            IntVector known =
                    IntVector.fromMemorySegment(I, sums, 4L * n, ORDER).mul(factor);
            IntVector.fromMemorySegment(I, out, 4 * (at + n), ORDER)
                    .add(known)
                    .intoMemorySegment(out, 4 * (at + n), ORDER);
        }
        for (int n = whole; n < outputs; n++) {
            int known = factor * sums.getAtIndex(JAVA_INT, n);
            out.setAtIndex(JAVA_INT, at + n, out.getAtIndex(JAVA_INT, at + n) + known);
        }
    }

    /** {@code out += values}. */
    private static void addAll(MemorySegment values, long count, MemorySegment out) {
        long whole = count - count % L;
        for (long i = 0; i < whole; i += L) {
            IntVector.fromMemorySegment(I, out, 4 * i, ORDER)
                    .add(IntVector.fromMemorySegment(I, values, 4 * i, ORDER))
                    .intoMemorySegment(out, 4 * i, ORDER);
        }
        for (long i = whole; i < count; i++) {
            out.setAtIndex(JAVA_INT, i, out.getAtIndex(JAVA_INT, i) + values.getAtIndex(JAVA_INT, i));
        }
    }

    @Override
    public long weightBytes() {
        return product.weightBytes() + transposed.byteSize() + sums.byteSize();
    }

    @Override
    public void close() {
        product.close();
        arena.close();
    }
}
