package dev.trivet.cli.report;

import dev.trivet.model.LinearLayer;
import dev.trivet.model.MatmulQuantizers;
import dev.trivet.model.ModelUnit;
import dev.trivet.model.VitModel;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeSet;
import org.jspecify.annotations.Nullable;

/** Bits of every operator over depth: a table whose cells are the darker, the fewer the bits. */
final class BitsSection {
    private static final List<String> BLOCK_ROWS =
            List.of("attn.qkv", "attn.qk", "attn.av", "attn.proj", "mlp.fc1", "mlp.fc2");

    private final Markup page;
    private final VitModel model;

    BitsSection(Markup page, VitModel model) {
        this.page = page;
        this.model = model;
    }

    void write() {
        page.open("section", "id", "bits").leaf("h2", "Bits over depth");
        page.leaf(
                "p",
                "Darker means fewer bits; t is ternary, a dot means float32. What stands in no block is listed below.");
        table("Weights", List.of("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"), true);
        table("Activations", BLOCK_ROWS, false);
        List<String> others = model.geometry().units().stream()
                .filter(unit -> !(unit instanceof ModelUnit.Block))
                .flatMap(unit -> unit.linears().stream())
                .map(operator -> operator + ": " + edge(operator))
                .toList();
        page.leaf("p", String.join("; ", others) + ".");
        page.close();
    }

    private String edge(String operator) {
        return switch (model.linear(operator)) {
            case LinearLayer.Float32 _ -> "float32";
            case LinearLayer.Quantized q ->
                "weights " + (q.isTernary() ? "ternary" : q.bits() + " bits") + ", input "
                        + q.input().bits() + " bits";
        };
    }

    private void table(String caption, List<String> rows, boolean weights) {
        page.open("div", "class", "scroll").open("table", "class", "bits").leaf("caption", caption);
        page.open("thead").open("tr").leaf("th", "block", "scope", "col");
        for (ModelUnit.Block block : blocks()) {
            page.leaf("th", shortName(block), "scope", "col");
        }
        page.close().close().open("tbody");
        for (String row : rows) {
            page.open("tr").leaf("th", row, "scope", "row");
            for (ModelUnit.Block block : blocks()) {
                String operator = block.name() + "." + row;
                cell(bits(operator, weights), weights && isTernary(operator));
            }
            page.close();
        }
        page.close().close().close();
    }

    private List<ModelUnit.Block> blocks() {
        return model.geometry().units().stream()
                .filter(ModelUnit.Block.class::isInstance)
                .map(ModelUnit.Block.class::cast)
                .toList();
    }

    /** The numbers in a block's name: 3 of {@code blocks.3}, 2.5 of {@code layers.2.blocks.5}. */
    static String shortName(ModelUnit.Block block) {
        return block.name().replaceAll("[a-z]+\\.", "");
    }

    private boolean isTernary(String operator) {
        return model.linears().get(operator) instanceof LinearLayer.Quantized q && q.isTernary();
    }

    private void cell(List<Integer> bits, boolean ternary) {
        boolean isFloat = bits.getFirst() == Float.SIZE;
        String text = isFloat
                ? "\u00b7"
                : ternary
                        ? "t"
                        : String.join("/", bits.stream().map(String::valueOf).toList());
        page.leaf("td", text, "class", isFloat ? "b32" : "b" + bits.getFirst());
    }

    /** Different widths of the operator's operands, rising. */
    private List<Integer> bits(String operator, boolean weights) {
        TreeSet<Integer> bits = new TreeSet<>();
        @Nullable MatmulQuantizers product = model.matmuls().get(operator);
        if (product != null) {
            bits.add(product.left().bits());
            bits.add(product.right().bits());
        } else if (model.linears().get(operator) instanceof LinearLayer.Quantized q) {
            bits.add(weights ? q.bits() : q.input().bits());
        } else {
            bits.add(Float.SIZE);
        }
        return new ArrayList<>(bits);
    }
}
