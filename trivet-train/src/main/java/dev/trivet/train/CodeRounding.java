package dev.trivet.train;

import dev.trivet.quant.ActivationQuantizer;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.ShortVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Rounds the values of a tensor, in its memory, to what their codes stand for:
 *
 * <pre>y = scale * clamp(round(x / scale), lowest - zeroPoint, highest - zeroPoint)</pre>
 *
 * the division by the float reciprocal and ties to even, as {@link ActivationQuantizer} has it. In PyTorch these are four operations, each of which goes
 * through memory; here it is one pass, which for bfloat16 also keeps all of it but the last rounding in float32. What defines the result is
 * {@link #reference}; without the Vector API it is also what runs.
 *
 * <p>Adding and subtracting 1.5 * 2^23 rounds a float of less than 2^22 to the nearest integer, ties to even.
 */
final class CodeRounding {
    private static final boolean VECTORS =
            ModuleLayer.boot().findModule("jdk.incubator.vector").isPresent();

    private CodeRounding() {}

    /**
     * Rounds in place. Without gradient: what the rounding means for it is the caller's matter.
     *
     * @param values float32 or bfloat16, without gaps in memory, within the quantizer's range but for the rounding of its ends
     */
    @SuppressWarnings("restricted") // as long as the tensor says
    static void apply(Tensor values, ActivationQuantizer quantizer) {
        boolean wide = values.scalar_type().value == ScalarType.Float.value;
        boolean known = wide || values.scalar_type().value == ScalarType.BFloat16.value;
        if (VECTORS && known && values.is_cpu() && values.is_non_overlapping_and_dense()) {
            MemorySegment memory = MemorySegment.ofAddress(values.data_ptr().address())
                    .reinterpret(values.numel() * (wide ? Float.BYTES : Short.BYTES));
            if (wide) {
                Lanes.floats(memory, quantizer);
            } else {
                Lanes.brainFloats(memory, quantizer);
            }
        } else {
            reference(values, quantizer);
        }
    }

    /** The same by PyTorch's operations. */
    static void reference(Tensor values, ActivationQuantizer quantizer) {
        Tensor wide = values.to(ScalarType.Float);
        wide.mul_(new Scalar((double) quantizer.inverseScale()))
                .round_()
                .clamp_(
                        new org.bytedeco.pytorch.ScalarOptional(new Scalar((double) low(quantizer))),
                        new org.bytedeco.pytorch.ScalarOptional(new Scalar((double) high(quantizer))))
                .mul_(new Scalar((double) quantizer.scale()));
        values.copy_(wide);
    }

    private static float low(ActivationQuantizer quantizer) {
        return quantizer.lowest() - quantizer.zeroPoint();
    }

    private static float high(ActivationQuantizer quantizer) {
        return quantizer.highest() - quantizer.zeroPoint();
    }

    /** Apart, so that nothing of the Vector API is loaded where the JVM has not got it. */
    private static final class Lanes {
        private static final VectorSpecies<Float> FLOATS = FloatVector.SPECIES_PREFERRED;
        private static final VectorSpecies<Integer> INTS = IntVector.SPECIES_PREFERRED;
        private static final VectorSpecies<Short> SHORTS =
                VectorSpecies.of(short.class, jdk.incubator.vector.VectorShape.forBitSize(FLOATS.vectorBitSize() / 2));
        private static final ByteOrder ORDER = ByteOrder.nativeOrder();
        private static final float MAGIC = 0x1.8p23f;

        static void floats(MemorySegment memory, ActivationQuantizer quantizer) {
            int lanes = FLOATS.length();
            long count = memory.byteSize() / Float.BYTES;
            long at = 0;
            for (; at <= count - lanes; at += lanes) {
                FloatVector x = FloatVector.fromMemorySegment(FLOATS, memory, at * Float.BYTES, ORDER);
                rounded(x, quantizer).intoMemorySegment(memory, at * Float.BYTES, ORDER);
            }
            for (; at < count; at++) {
                float x = memory.getAtIndex(ValueLayout.JAVA_FLOAT_UNALIGNED, at);
                memory.setAtIndex(ValueLayout.JAVA_FLOAT_UNALIGNED, at, rounded(x, quantizer));
            }
        }

        static void brainFloats(MemorySegment memory, ActivationQuantizer quantizer) {
            int lanes = SHORTS.length();
            long count = memory.byteSize() / Short.BYTES;
            long at = 0;
            for (; at <= count - lanes; at += lanes) {
                IntVector bits = (IntVector) ShortVector.fromMemorySegment(SHORTS, memory, at * Short.BYTES, ORDER)
                        .convertShape(VectorOperators.S2I, INTS, 0);
                FloatVector x = bits.lanewise(VectorOperators.LSHL, 16).reinterpretAsFloats();
                IntVector y = rounded(x, quantizer).reinterpretAsInts();
                IntVector even = y.lanewise(VectorOperators.LSHR, 16).and(1);
                ((ShortVector) y.add(0x7fff)
                                .add(even)
                                .lanewise(VectorOperators.LSHR, 16)
                                .convertShape(VectorOperators.I2S, SHORTS, 0))
                        .intoMemorySegment(memory, at * Short.BYTES, ORDER);
            }
            for (; at < count; at++) {
                float x = Float.intBitsToFloat(memory.getAtIndex(ValueLayout.JAVA_SHORT_UNALIGNED, at) << 16);
                int y = Float.floatToRawIntBits(rounded(x, quantizer));
                memory.setAtIndex(
                        ValueLayout.JAVA_SHORT_UNALIGNED, at, (short) ((y + 0x7fff + ((y >>> 16) & 1)) >>> 16));
            }
        }

        private static FloatVector rounded(FloatVector x, ActivationQuantizer quantizer) {
            return x.mul(quantizer.inverseScale())
                    .add(MAGIC)
                    .sub(MAGIC)
                    .max(low(quantizer))
                    .min(high(quantizer))
                    .mul(quantizer.scale());
        }

        private static float rounded(float x, ActivationQuantizer quantizer) {
            float code = x * quantizer.inverseScale() + MAGIC - MAGIC;
            return Math.min(Math.max(code, low(quantizer)), high(quantizer)) * quantizer.scale();
        }
    }
}
