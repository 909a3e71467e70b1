package dev.trivet.ptq;

import dev.trivet.model.Geometry;
import dev.trivet.model.ModelUnit;
import dev.trivet.quant.WeightCoding;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.function.BiFunction;

/**
 * The width of every operator of a model, in execution order. It is made from options, from a bit allocation, or read from a
 * file that a person edited, and nothing else decides about widths.
 */
public record QuantizationPlan(List<OperatorPlan> operators) {
    /** @throws IllegalArgumentException if an operator is named twice */
    public QuantizationPlan {
        operators = List.copyOf(operators);
        Set<String> names = new HashSet<>();
        for (OperatorPlan operator : operators) {
            if (!names.add(operator.operator())) {
                throw new IllegalArgumentException("the plan names " + operator.operator() + " twice");
            }
        }
    }

    /**
     * One width for all, another for the two ends.
     *
     * @param edgeBits weights and activations of the patch embedding and the heads
     */
    public static QuantizationPlan uniform(Geometry geometry, int weightBits, int activationBits, int edgeBits) {
        return of(geometry, (name, edge) -> {
            int activation = edge ? edgeBits : activationBits;
            return new OperatorPlan(name, isProduct(name) ? 0 : edge ? edgeBits : weightBits, activation);
        });
    }

    /**
     * The same with codings.
     *
     * @param edges weights of the patch embedding and the heads
     * @param edgeBits activations there
     * @throws IllegalArgumentException if a width is not known
     */
    public static QuantizationPlan uniform(
            Geometry geometry, WeightCoding weights, int activationBits, WeightCoding edges, int edgeBits) {
        return of(geometry, (name, edge) -> {
            Optional<WeightCoding> own = isProduct(name) ? Optional.empty() : Optional.of(edge ? edges : weights);
            return new OperatorPlan(name, own, edge ? edgeBits : activationBits);
        });
    }

    /** @param plan of an operator, and whether it stands at one of the two ends */
    private static QuantizationPlan of(Geometry geometry, BiFunction<String, Boolean, OperatorPlan> plan) {
        List<OperatorPlan> operators = new ArrayList<>();
        for (ModelUnit unit : geometry.units()) {
            boolean edge = unit instanceof ModelUnit.Embedding || unit instanceof ModelUnit.Head;
            unit.operators().forEach(name -> operators.add(plan.apply(name, edge)));
        }
        return new QuantizationPlan(operators);
    }

    /** Every operator of a model that can be quantized, in execution order. */
    public static List<String> names(Geometry geometry) {
        return geometry.units().stream()
                .flatMap(unit -> unit.operators().stream())
                .toList();
    }

    static boolean isProduct(String name) {
        return name.endsWith(".attn.qk") || name.endsWith(".attn.av");
    }

    /**
     * Checks a plan against a model.
     *
     * @throws IllegalArgumentException if it names an operator the model lacks, or lacks one the model has
     */
    public void check(Geometry geometry) {
        Set<String> wanted = new HashSet<>(names(geometry));
        for (OperatorPlan operator : operators) {
            if (!wanted.remove(operator.operator())) {
                throw new IllegalArgumentException("the plan names " + operator.operator() + ", which the model lacks");
            }
            if (!operator.isFloat()
                    && isProduct(operator.operator()) == operator.weights().isPresent()) {
                throw new IllegalArgumentException("the plan gives " + operator.operator() + " " + operator.weightText()
                        + " weight bits; products of activations have 0, all others some");
            }
        }
        if (!wanted.isEmpty()) {
            throw new IllegalArgumentException("the plan lacks "
                    + names(geometry).stream()
                            .filter(wanted::contains)
                            .findFirst()
                            .orElseThrow()
                    + (wanted.size() > 1 ? " and " + (wanted.size() - 1) + " more" : ""));
        }
    }

    /** @throws IllegalArgumentException if the plan lacks it */
    public OperatorPlan operator(String name) {
        for (OperatorPlan operator : operators) {
            if (operator.operator().equals(name)) {
                return operator;
            }
        }
        throw new IllegalArgumentException("the plan lacks " + name);
    }

    /** The plan with the widths of some modules ({@code blocks.N.attn}, {@code blocks.N.mlp}) replaced. */
    public QuantizationPlan withModuleBits(Map<String, Integer> bits) {
        Map<String, OperatorPlan> changed = new LinkedHashMap<>();
        for (OperatorPlan operator : operators) {
            String name = operator.operator();
            OperatorPlan plan = operator;
            for (Map.Entry<String, Integer> module : bits.entrySet()) {
                if (name.startsWith(module.getKey() + ".") && !operator.isFloat()) {
                    int b = module.getValue();
                    plan = new OperatorPlan(name, isProduct(name) ? 0 : b, b);
                }
            }
            changed.put(name, plan);
        }
        return new QuantizationPlan(List.copyOf(changed.values()));
    }
}
