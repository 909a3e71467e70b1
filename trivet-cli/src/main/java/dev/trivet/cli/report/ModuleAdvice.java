package dev.trivet.cli.report;

import dev.trivet.model.LinearLayer;
import dev.trivet.model.MatmulQuantizers;
import dev.trivet.model.VitModel;
import dev.trivet.ptq.ModuleNoise;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Stream;

/**
 * A module's noise and what can be done about it.
 *
 * @param sqnrDb of the module's output, on the float model's input; infinite where nothing differs
 * @param noiseAdded to the quantized model's own stream, as a share of its energy; negative where the module repairs noise of
 *     those before it
 * @param weightBits fewest in the module; 32 is float
 * @param ternary whether those are ternary
 * @param activationBits fewest in the module; 32 is float
 * @param advice one sentence; empty where the module is float
 */
public record ModuleAdvice(
        String module,
        double sqnrDb,
        double noiseAdded,
        int weightBits,
        boolean ternary,
        int activationBits,
        String advice) {
    /** Widths worth trying next; beyond the last only float is left. */
    private static final int[] WIDTHS = {3, 4, 6, 8};

    /** An operator and the fewest bits that it has. */
    private record Narrow(String operator, int bits) {}

    /** In execution order. */
    public static List<ModuleAdvice> of(ModuleNoise noise, VitModel quantized) {
        return noise.modules().stream()
                .map(m -> new ModuleAdvice(
                        m.module(),
                        m.sqnrDb(),
                        m.noiseAdded(),
                        m.weightBits(),
                        quantized.linears().values().stream()
                                .anyMatch(layer -> layer instanceof LinearLayer.Quantized q
                                        && q.isTernary()
                                        && isIn(q.name(), m.module())),
                        m.activationBits(),
                        advice(m, quantized)))
                .toList();
    }

    /** Worst first. Modules without noise are left out, and so are those that take more noise out of the stream than they add. */
    public static List<ModuleAdvice> worst(List<ModuleAdvice> modules, int count) {
        return modules.stream()
                .filter(m -> m.sqnrDb != Double.POSITIVE_INFINITY && !m.repairs())
                // NaN is the worst there is, and would sort last.
                .sorted(Comparator.comparingDouble(m -> Double.isNaN(m.sqnrDb) ? Double.NEGATIVE_INFINITY : m.sqnrDb))
                .limit(count)
                .toList();
    }

    /** Whether the module makes up for more noise of earlier modules than it adds; more bits would not help there. */
    boolean repairs() {
        return noiseAdded < 0;
    }

    public String addedText() {
        return Figures.number(100 * noiseAdded) + " %";
    }

    public String sqnrText() {
        return Double.isNaN(sqnrDb) ? "not a number" : String.format(Locale.ROOT, "%.1f dB", sqnrDb);
    }

    public String bitsText() {
        return "W" + (ternary ? "ternary" : weightBits) + "A" + activationBits;
    }

    private static String advice(ModuleNoise.Module module, VitModel model) {
        List<Narrow> operators = operators(module.module(), model);
        if (operators.isEmpty()) {
            return "";
        }
        if (module.noiseAdded() < 0) {
            return "leave it: it takes more noise of earlier modules out of the stream than it adds";
        }
        Narrow narrowest = operators.getFirst();
        boolean product = model.matmuls().containsKey(narrowest.operator());
        String floating = "leave " + narrowest.operator() + " in float ("
                + (product ? "activation_bits 32" : "weight_bits and activation_bits 32") + ")";
        for (int width : WIDTHS) {
            if (width > narrowest.bits()) {
                return "give it " + width + " bits in --plan, or " + floating;
            }
        }
        return floating + " in --plan";
    }

    /** The module's quantized operators, narrowest first; of equals the one whose input is hardest to round first. */
    private static List<Narrow> operators(String module, VitModel model) {
        Stream<Narrow> linears = model.linears().entrySet().stream()
                .filter(e -> isIn(e.getKey(), module))
                .flatMap(e -> e.getValue() instanceof LinearLayer.Quantized q
                        ? Stream.of(new Narrow(
                                e.getKey(), Math.min(q.bits(), q.input().bits())))
                        : Stream.of());
        Stream<Narrow> products = model.matmuls().entrySet().stream()
                .filter(e -> isIn(e.getKey(), module))
                .map(e -> new Narrow(e.getKey(), bits(e)));
        return Stream.concat(linears, products)
                .sorted(Comparator.comparingInt(Narrow::bits).thenComparingInt(ModuleAdvice::ease))
                .toList();
    }

    private static int bits(Map.Entry<String, MatmulQuantizers> product) {
        return Math.min(
                product.getValue().left().bits(), product.getValue().right().bits());
    }

    private static boolean isIn(String operator, String module) {
        return operator.startsWith(module + ".") || operator.equals(module) || operator.startsWith(module + "_");
    }

    /** After GELU half of the values are nearly zero and some are large; LayerNorm's outputs come next. */
    private static int ease(Narrow n) {
        return n.operator().endsWith(".fc2") ? 0 : n.operator().endsWith(".qkv") ? 1 : 2;
    }
}
