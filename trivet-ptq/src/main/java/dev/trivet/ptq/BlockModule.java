package dev.trivet.ptq;

import dev.trivet.format.BitPacking;
import dev.trivet.model.Geometry;
import dev.trivet.model.ModelUnit;
import dev.trivet.model.VitTensors;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * The attention or the MLP module of a block: what mixed precision gives one width.
 *
 * @param name {@code blocks.N.attn} or {@code blocks.N.mlp}; of a Swin {@code layers.M.blocks.N...}
 * @param attention whether it is an attention module
 * @param linears its layers that are to be quantized
 */
record BlockModule(String name, ModelUnit.Block block, boolean attention, List<VitTensors.Linear> linears) {
    BlockModule {
        linears = List.copyOf(linears);
    }

    /** The modules of which the plan quantizes anything, in execution order. */
    static List<BlockModule> of(Geometry geometry, QuantizationPlan plan) {
        Map<String, VitTensors.Linear> byName = new LinkedHashMap<>();
        VitTensors.of(geometry).linears().forEach(linear -> byName.put(linear.name(), linear));
        List<BlockModule> modules = new ArrayList<>();
        for (ModelUnit unit : geometry.units()) {
            if (!(unit instanceof ModelUnit.Block block)) {
                continue;
            }
            for (boolean attention : new boolean[] {true, false}) {
                String name = attention ? block.attention() : block.mlp();
                List<VitTensors.Linear> linears = new ArrayList<>();
                boolean quantized = false;
                for (OperatorPlan operator : plan.operators()) {
                    if (contains(name, operator.operator()) && !operator.isFloat()) {
                        quantized = true;
                        if (!QuantizationPlan.isProduct(operator.operator())) {
                            linears.add(byName.get(operator.operator()));
                        }
                    }
                }
                if (quantized) {
                    modules.add(new BlockModule(name, block, attention, linears));
                }
            }
        }
        return modules;
    }

    private static boolean contains(String module, String operator) {
        return operator.startsWith(module + ".");
    }

    boolean contains(String operator) {
        return contains(name, operator);
    }

    /** The layer whose output is the module's: the attention projection or the second MLP layer. */
    String outputLayer() {
        return attention ? block.projection() : block.mlpOutput();
    }

    /** A plan that quantizes this module at one width and leaves everything else in float. */
    QuantizationPlan alone(QuantizationPlan base, int bits) {
        List<OperatorPlan> operators = new ArrayList<>();
        for (OperatorPlan operator : base.withModuleBits(Map.of(name, bits)).operators()) {
            String o = operator.operator();
            int weight = QuantizationPlan.isProduct(o) ? 0 : OperatorPlan.FLOAT;
            operators.add(contains(o) ? operator : new OperatorPlan(o, weight, OperatorPlan.FLOAT));
        }
        return new QuantizationPlan(operators);
    }

    /** Bytes of the weight codes in a file. */
    long codeBytes(int bits) {
        long bytes = 0;
        for (VitTensors.Linear linear : linears) {
            bytes += (long) linear.outputs() * BitPacking.bytesPerRow(linear.inputs(), bits);
        }
        return bytes;
    }

    /** The same at a width that need not be whole: what a target asks for. */
    long wantedBytes(double bits) {
        long bytes = 0;
        for (VitTensors.Linear linear : linears) {
            bytes += linear.outputs() * (long) Math.ceil(linear.inputs() * bits / 8);
        }
        return bytes;
    }

    long weights() {
        long weights = 0;
        for (VitTensors.Linear linear : linears) {
            weights += (long) linear.outputs() * linear.inputs();
        }
        return weights;
    }
}
