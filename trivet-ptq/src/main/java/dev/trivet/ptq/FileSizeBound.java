package dev.trivet.ptq;

import dev.trivet.format.Provenance;
import dev.trivet.format.QuantizedModelFile;
import dev.trivet.model.Geometry;
import dev.trivet.model.ModelConfig;
import dev.trivet.model.ModelUnit;
import dev.trivet.model.VitNames;
import dev.trivet.model.VitTensors;
import dev.trivet.quant.WeightCoding;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import tools.jackson.databind.json.JsonMapper;

/**
 * The largest a quantized-model file ({@code docs/format.md}) can become, known before anything is quantized. Codes, scales,
 * biases and floats have the sizes that their shapes say. Of the header only the digits of quantizers and offsets and the
 * number of picked levels are not known; they are taken at their longest: where a method picks levels, every quantizer below 8
 * bits lists {@code 2^bits} of the most digits that codes of one byte have. What a method never stores is not counted.
 *
 * <p>The bound is a sum over operators, so a part of it can be chosen by an exact allocation. Immutable and safe for use by
 * many threads.
 */
public final class FileSizeBound {
    private static final JsonMapper JSON = new JsonMapper();

    /** Digits of a code, a zero point with its sign, and a float: 1.17549435E-38. */
    private static final String CODE = "-512";

    private static final String FLOAT = "1.17549435E-38";
    private static final String QUANTIZER =
            "{\"scale\":" + FLOAT + ",\"zeroPoint\":" + CODE + ",\"lowest\":" + CODE + ",\"highest\":" + CODE + "}";
    /** Keys, version and brackets of the metadata, the header's length and its padding. */
    private static final long FRAME = 400;

    private final Geometry geometry;
    private final QuantizationPlan base;
    private final MethodSettings settings;
    private final Set<String> stacked;
    private final Map<String, VitTensors.Linear> linears = new LinkedHashMap<>();
    private final List<BlockModule> modules;
    private final int offsetDigits;
    /** Everything that belongs to no operator. */
    private final long frame;

    private final long fixed;

    /**
     * @param base what is quantized, with the widths of everything that belongs to no module
     * @param settings of the method, which say what it stores
     * @param provenanceBytes upper bound of what provenance takes, {@link #provenanceBytes}
     */
    public FileSizeBound(ModelConfig model, QuantizationPlan base, MethodSettings settings, long provenanceBytes) {
        geometry = model.geometry();
        this.base = base;
        this.settings = settings;
        stacked = geometry.units().stream()
                .filter(ModelUnit.Block.class::isInstance)
                .map(unit -> ((ModelUnit.Block) unit).qkv())
                .collect(Collectors.toSet());
        base.check(geometry);
        modules = BlockModule.of(geometry, base);
        VitTensors tensors = VitTensors.of(geometry);
        long floats = 0;
        for (VitTensors.Linear linear : tensors.linears()) {
            linears.put(linear.name(), linear);
            floats += (long) linear.outputs() * (linear.inputs() + 2L);
        }
        for (List<Long> shape : tensors.floats().values()) {
            floats += size(shape);
        }
        offsetDigits = String.valueOf(4 * floats).length();
        long rest = FRAME + escaped(JSON.writeValueAsString(model)) + provenanceBytes;
        for (Map.Entry<String, List<Long>> tensor : tensors.floats().entrySet()) {
            rest += 4 * size(tensor.getValue()) + entry(tensor.getKey(), tensor.getValue());
        }
        frame = rest;
        long chosen = 0;
        for (OperatorPlan operator : base.operators()) {
            if (modules.stream().noneMatch(module -> module.contains(operator.operator()))) {
                chosen += bytes(operator);
            }
        }
        fixed = frame + chosen;
    }

    /** Bytes that provenance takes in the header, with everything that JSON in JSON escapes. */
    public static long provenanceBytes(Provenance provenance) {
        return escaped(JSON.writeValueAsString(provenance.facts()))
                + provenance.plan().map(FileSizeBound::escaped).orElse(0L)
                + provenance.report().map(FileSizeBound::escaped).orElse(0L);
    }

    /** Bytes of everything that does not depend on the modules' widths. */
    public long fixed() {
        return fixed;
    }

    /**
     * Bytes that a module adds: codes, scales, biases and its part of the header.
     *
     * @param name {@code blocks.N.attn} or {@code blocks.N.mlp}
     * @throws IllegalArgumentException if the base plan quantizes nothing of that name
     */
    public long module(String name, int bits) {
        BlockModule module = named(name);
        long bytes = 0;
        for (OperatorPlan operator : base.withModuleBits(Map.of(name, bits)).operators()) {
            if (module.contains(operator.operator())) {
                bytes += bytes(operator);
            }
        }
        return bytes;
    }

    /** Bytes of the file if every operator has the width that a plan gives it. */
    public long of(QuantizationPlan plan) {
        plan.check(geometry);
        return frame + plan.operators().stream().mapToLong(this::bytes).sum();
    }

    /** The modules that have a width to choose. */
    List<BlockModule> modules() {
        return modules;
    }

    BlockModule named(String name) {
        return modules.stream()
                .filter(module -> module.name().equals(name))
                .findFirst()
                .orElseThrow(() -> new IllegalArgumentException("nothing of " + name + " is to be quantized"));
    }

    private long bytes(OperatorPlan operator) {
        String name = operator.operator();
        int bits = operator.activationBits();
        if (QuantizationPlan.isProduct(name)) {
            return operator.isFloat()
                    ? 0
                    : escaped("{\"name\":\"" + name + "\",\"left\":" + QUANTIZER + ",\"right\":" + QUANTIZER
                                    + ",\"normalized\":true},")
                            + 2 * levels(bits);
        }
        VitTensors.Linear linear = linears.get(name);
        if (linear == null) {
            throw new IllegalArgumentException("no layer " + name);
        }
        long outputs = linear.outputs();
        // Quantizing may give a bias to a layer that had none.
        long bytes = 4 * outputs + entry(linear.biasName(), List.of(outputs));
        if (operator.isFloat()) {
            List<Long> shape = List.of(outputs, (long) linear.inputs());
            return bytes + 4 * size(shape) + entry(linear.weight(), shape);
        }
        // Queries, keys and values are matrices of their own with a scale each, stored per channel.
        long scales = settings.perChannel() || stacked.contains(name) ? outputs : 1;
        List<Long> packed = List.of(outputs, (long) QuantizedModelFile.bytesPerRow(linear.inputs(), operator.coding()));
        return bytes
                + size(packed)
                + entry(linear.weight(), packed)
                + 4 * scales
                + entry(name + ".weight_scale", List.of(scales))
                + escaped("{\"name\":\"" + name + "\",\"weightBits\":" + weightBits(operator) + ",\"input\":"
                        + QUANTIZER + "},")
                + levels(bits)
                + (name.equals(VitNames.PATCH_EMBEDDING) ? equalization(name) : 0);
    }

    /** At its longest. */
    private static String weightBits(OperatorPlan operator) {
        return operator.coding() == WeightCoding.TERNARY ? "\"" + operator.weightText() + "\"" : "10";
    }

    /** A factor and an offset for each colour. */
    private long equalization(String name) {
        List<Long> shape = List.of((long) geometry.channels());
        return 8L * geometry.channels() + entry(name + ".input_factor", shape) + entry(name + ".input_offset", shape);
    }

    /** Most bytes that a quantizer's list of levels takes. */
    private long levels(int bits) {
        if (bits >= 8 || !settings.levels()) {
            return 0;
        }
        int count = 1 << bits;
        return escaped(",\"levels\":[]") + Math.max(longest(0, count), longest(-128, count));
    }

    /** Most characters that so many different codes of a byte take, with commas. */
    private static long longest(int lowest, int count) {
        return IntStream.range(lowest, lowest + 256)
                .map(code -> -String.valueOf(code).length() - 1)
                .sorted()
                .limit(count)
                .mapToLong(length -> -length)
                .sum();
    }

    /** Bytes of a tensor's entry in the header. */
    private long entry(String name, List<Long> shape) {
        String text = "\"" + name + "\":{\"dtype\":\"F32\",\"shape\":"
                + shape.toString().replace(" ", "") + ",\"data_offsets\":[,]},";
        return text.length() + 2L * offsetDigits;
    }

    private static long size(List<Long> shape) {
        return shape.stream().reduce(1L, Math::multiplyExact);
    }

    /** Bytes of a text as a JSON string, without its quotes. */
    private static long escaped(String text) {
        return JSON.writeValueAsString(text).getBytes(StandardCharsets.UTF_8).length - 2L;
    }
}
