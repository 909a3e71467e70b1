package dev.trivet.format;

import dev.trivet.model.LinearLayer;
import dev.trivet.model.MatmulQuantizers;
import dev.trivet.model.ModelConfig;
import dev.trivet.model.VitModel;
import dev.trivet.model.VitTensors;
import dev.trivet.quant.ChannelAffine;
import dev.trivet.quant.WeightCoding;
import dev.trivet.tensor.DType;
import dev.trivet.tensor.SafetensorsFile;
import dev.trivet.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/**
 * Collects the tensors that the geometry and the plans ask for, and notes which were used. Whatever does not fit is an
 * {@link IllegalArgumentException} that says what.
 */
final class QuantizedModelReader {
    /** Of expanded codes, a cache line. */
    private static final int ALIGNMENT = 64;

    private final SafetensorsFile file;
    private final int version;
    private final ModelConfig config;
    private final Map<String, OperatorPlans.Linear> linearPlans = new LinkedHashMap<>();
    private final Map<String, MatmulQuantizers> matmuls = new LinkedHashMap<>();
    private final Set<String> used = new HashSet<>();
    private final Optional<Arena> memory;

    /** @param memory of codes that the file holds in another form; without it all codes are copied to the heap */
    QuantizedModelReader(
            SafetensorsFile file, int version, ModelConfig config, OperatorPlans plans, Optional<Arena> memory) {
        this.memory = memory;
        this.file = file;
        this.version = version;
        this.config = config;
        for (OperatorPlans.Linear linear : plans.linears()) {
            if (linearPlans.put(linear.name(), linear) != null) {
                throw new IllegalArgumentException("two plans for " + linear.name());
            }
        }
        Set<String> products = new HashSet<>(VitTensors.of(config.geometry()).products());
        for (OperatorPlans.Matmul matmul : plans.matmuls()) {
            MatmulQuantizers quantizers = new MatmulQuantizers(matmul.left(), matmul.right(), matmul.normalized());
            if (!products.contains(matmul.name()) || matmuls.put(matmul.name(), quantizers) != null) {
                throw new IllegalArgumentException("unknown or repeated product " + matmul.name());
            }
        }
    }

    VitModel model() {
        VitTensors wanted = VitTensors.of(config.geometry());
        Map<String, LinearLayer> linears = new LinkedHashMap<>();
        for (VitTensors.Linear spec : wanted.linears()) {
            linears.put(spec.name(), linear(spec));
        }
        Map<String, float[]> floats = new LinkedHashMap<>();
        wanted.floats().forEach((name, shape) -> floats.put(name, floats(name, shape)));
        for (String name : linearPlans.keySet()) {
            if (!linears.containsKey(name)) {
                throw new IllegalArgumentException("a plan for the unknown layer " + name);
            }
        }
        for (String name : file.names()) {
            if (!used.contains(name)) {
                throw new IllegalArgumentException("unknown tensor " + name);
            }
        }
        return new VitModel(config, linears, matmuls, floats);
    }

    private LinearLayer linear(VitTensors.Linear spec) {
        float[] bias = spec.bias() || file.find(spec.biasName()).isPresent()
                ? floats(spec.biasName(), List.of((long) spec.outputs()))
                : new float[spec.outputs()];
        OperatorPlans.Linear plan = linearPlans.get(spec.name());
        if (plan == null) {
            List<Long> shape = List.of((long) spec.outputs(), (long) spec.inputs());
            return new LinearLayer.Float32(
                    spec.name(), spec.outputs(), spec.inputs(), floats(spec.weight(), shape), bias);
        }
        WeightCoding coding = plan.coding();
        boolean ternary = coding == WeightCoding.TERNARY;
        if ((version == 1 && coding.wide()) || (version < QuantizedModelFile.TERNARY_VERSION && ternary)) {
            throw new IllegalArgumentException(
                    spec.name() + (ternary ? " has ternary weights" : " has weights of " + coding.bits() + " bits")
                            + ", which version " + version + " does not know");
        }
        MemorySegment codes = codes(spec, coding);
        String scaleName = spec.name() + QuantizedModelFile.SCALE;
        boolean halves = ternary
                && file.find(scaleName)
                        .filter(found -> found.dtype() == DType.F16)
                        .isPresent();
        Tensor scales = tensor(scaleName, halves ? DType.F16 : DType.F32, Optional.empty());
        return new LinearLayer.Quantized(
                spec.name(),
                spec.outputs(),
                spec.inputs(),
                coding,
                codes,
                positive(scales),
                bias,
                plan.input(),
                equalization(spec));
    }

    private Optional<ChannelAffine> equalization(VitTensors.Linear spec) {
        String factor = spec.name() + QuantizedModelFile.FACTOR;
        String offset = spec.name() + QuantizedModelFile.OFFSET;
        if (version == 1 || (file.find(factor).isEmpty() && file.find(offset).isEmpty())) {
            return Optional.empty();
        }
        float[] factors = finite(tensor(factor, DType.F32, Optional.empty()));
        float[] offsets = finite(tensor(offset, DType.F32, Optional.empty()));
        if (factors.length == 0 || spec.inputs() % factors.length != 0) {
            throw new IllegalArgumentException(
                    "tensor " + factor + " has " + factors.length + " values for " + spec.inputs() + " inputs");
        }
        return Optional.of(new ChannelAffine(factors, offsets).repeated(spec.inputs() / factors.length));
    }

    private float[] floats(String name, List<Long> shape) {
        return finite(tensor(name, DType.F32, Optional.of(shape)));
    }

    private MemorySegment codes(VitTensors.Linear spec, WeightCoding coding) {
        int outputs = spec.outputs();
        int inputs = spec.inputs();
        if (!QuantizedModelFile.isPacked(version, coding)) {
            Tensor tensor = tensor(spec.weight(), DType.I8, Optional.of(List.of((long) outputs, (long) inputs)));
            checkRange(tensor, coding);
            return memory.isPresent()
                    ? tensor.data()
                    : MemorySegment.ofArray(tensor.data().toArray(ValueLayout.JAVA_BYTE));
        }
        List<Long> shape = List.of((long) outputs, (long) QuantizedModelFile.bytesPerRow(inputs, coding));
        Tensor packed = tensor(spec.weight(), DType.U8, Optional.of(shape));
        try {
            boolean ternary = coding == WeightCoding.TERNARY;
            if (memory.isEmpty()) {
                return ternary
                        ? TernaryPacking.unpack(packed.data(), outputs, inputs)
                        : BitPacking.unpack(packed.data(), outputs, inputs, coding.bits());
            }
            int width = BitPacking.codeBytes(coding.bits());
            MemorySegment codes = memory.get().allocate((long) outputs * inputs * width, ALIGNMENT);
            if (ternary) {
                TernaryPacking.unpack(packed.data(), outputs, inputs, codes);
            } else {
                BitPacking.unpack(packed.data(), outputs, inputs, coding.bits(), codes);
            }
            return codes;
        } catch (IllegalArgumentException e) {
            throw new IllegalArgumentException("tensor " + packed.name() + ": " + e.getMessage(), e);
        }
    }

    private static void checkRange(Tensor tensor, WeightCoding coding) {
        if (coding.lowest() == Byte.MIN_VALUE && coding.highest() == Byte.MAX_VALUE) {
            return;
        }
        for (byte code : tensor.data().toArray(ValueLayout.JAVA_BYTE)) {
            if (code < coding.lowest() || code > coding.highest()) {
                throw new IllegalArgumentException("tensor " + tensor.name() + " holds the code " + code + ", which "
                        + coding.bits() + " bits cannot");
            }
        }
    }

    private static float[] positive(Tensor scales) {
        float[] values = finite(scales);
        for (float v : values) {
            if (!(v > 0)) {
                throw new IllegalArgumentException("tensor " + scales.name() + " holds " + v);
            }
        }
        return values;
    }

    private static float[] finite(Tensor tensor) {
        float[] values = tensor.toFloats();
        for (float v : values) {
            if (!Float.isFinite(v)) {
                throw new IllegalArgumentException("tensor " + tensor.name() + " holds " + v);
            }
        }
        return values;
    }

    private Tensor tensor(String name, DType type, Optional<List<Long>> shape) {
        used.add(name);
        Tensor tensor =
                file.find(name).orElseThrow(() -> new IllegalArgumentException("tensor " + name + " is missing"));
        if (tensor.dtype() != type || (shape.isPresent() && !tensor.shape().equals(shape.get()))) {
            throw new IllegalArgumentException("tensor " + name + " is " + tensor.dtype() + " " + tensor.shapeText()
                    + ", not " + type + " " + shape.map(Object::toString).orElse(""));
        }
        return tensor;
    }
}
