package dev.trivet.ptq;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import dev.trivet.model.VitConfig;
import dev.trivet.quant.WeightCoding;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class QuantizationPlanTest {
    private static final VitConfig GAP = Fixtures.micro("vit_gap_micro").vit();
    private static final VitConfig DISTILLED =
            Fixtures.micro("deit_distilled_micro").vit();

    @Test
    void namesAreInExecutionOrder() {
        assertThat(QuantizationPlan.names(GAP))
                .containsExactly(
                        "patch_embed.proj",
                        "blocks.0.attn.qkv",
                        "blocks.0.attn.qk",
                        "blocks.0.attn.av",
                        "blocks.0.attn.proj",
                        "blocks.0.mlp.fc1",
                        "blocks.0.mlp.fc2",
                        "blocks.1.attn.qkv",
                        "blocks.1.attn.qk",
                        "blocks.1.attn.av",
                        "blocks.1.attn.proj",
                        "blocks.1.mlp.fc1",
                        "blocks.1.mlp.fc2",
                        "head");
        assertThat(QuantizationPlan.names(DISTILLED)).endsWith("blocks.1.mlp.fc2", "head", "head_dist");
    }

    @Test
    void uniformWidths() {
        QuantizationPlan plan = QuantizationPlan.uniform(DISTILLED, 3, 6, 8);
        plan.check(DISTILLED);
        assertThat(plan.operators())
                .extracting(OperatorPlan::operator)
                .containsExactlyElementsOf(QuantizationPlan.names(DISTILLED));
        for (String edge : List.of("patch_embed.proj", "head", "head_dist")) {
            assertThat(plan.operator(edge)).isEqualTo(new OperatorPlan(edge, 8, 8));
        }
        assertThat(plan.operator("blocks.1.mlp.fc2")).isEqualTo(new OperatorPlan("blocks.1.mlp.fc2", 3, 6));
        assertThat(plan.operator("blocks.0.attn.av")).isEqualTo(new OperatorPlan("blocks.0.attn.av", 0, 6));
        assertThatIllegalArgumentException()
                .isThrownBy(() -> plan.operator("blocks.2.mlp.fc2"))
                .withMessage("the plan lacks blocks.2.mlp.fc2");
        QuantizationPlan none = QuantizationPlan.uniform(GAP, 32, 32, 32);
        none.check(GAP);
        assertThat(none.operators()).allMatch(OperatorPlan::isFloat);
    }

    @Test
    void ternaryBlocksBetweenTwoEnds() {
        QuantizationPlan plan = QuantizationPlan.uniform(GAP, WeightCoding.TERNARY, 8, WeightCoding.BITS_8, 8);
        plan.check(GAP);
        OperatorPlan block = plan.operator("blocks.0.mlp.fc1");
        assertThat(block.coding()).isEqualTo(WeightCoding.TERNARY);
        assertThat(block.weightText()).isEqualTo("ternary");
        assertThat(block.weightBits()).isEqualTo(2);
        assertThat(block).isNotEqualTo(new OperatorPlan("blocks.0.mlp.fc1", 2, 8));
        assertThat(plan.operator("head")).isEqualTo(new OperatorPlan("head", 8, 8));
        assertThat(plan.operator("blocks.0.attn.qk")).isEqualTo(new OperatorPlan("blocks.0.attn.qk", 0, 8));
        assertThat(plan.operator("blocks.0.attn.qk").weightBits()).isZero();
        assertThatIllegalArgumentException()
                .isThrownBy(() -> new OperatorPlan("head", WeightCoding.TERNARY, 32))
                .withMessageStartingWith("head asks for ternary weight bits and 32 activation bits");
        List<OperatorPlan> weighty = new ArrayList<>(plan.operators());
        weighty.set(2, new OperatorPlan("blocks.0.attn.qk", WeightCoding.TERNARY, 8));
        refused(
                weighty,
                "the plan gives blocks.0.attn.qk ternary weight bits; products of activations have 0, all others some");
    }

    private static void refused(List<OperatorPlan> operators, String message) {
        assertThatIllegalArgumentException()
                .isThrownBy(() -> new QuantizationPlan(operators).check(GAP))
                .withMessage(message);
    }

    @Test
    void plansAreCheckedAgainstTheModel() {
        List<OperatorPlan> all = QuantizationPlan.uniform(GAP, 8, 8, 8).operators();
        List<OperatorPlan> more = new ArrayList<>(all);
        more.add(new OperatorPlan("head_dist", 8, 8));
        refused(more, "the plan names head_dist, which the model lacks");
        refused(all.subList(0, all.size() - 1), "the plan lacks head");
        refused(all.subList(3, all.size()), "the plan lacks patch_embed.proj and 2 more");
        refused(List.of(), "the plan lacks patch_embed.proj and 13 more");
        List<OperatorPlan> weighty = new ArrayList<>(all);
        weighty.set(2, new OperatorPlan("blocks.0.attn.qk", 8, 8));
        refused(
                weighty,
                "the plan gives blocks.0.attn.qk 8 weight bits; products of activations have 0, all others some");
        List<OperatorPlan> weightless = new ArrayList<>(all);
        weightless.set(1, new OperatorPlan("blocks.0.attn.qkv", 0, 8));
        refused(
                weightless,
                "the plan gives blocks.0.attn.qkv 0 weight bits; products of activations have 0, all others some");
        more.set(more.size() - 1, all.getFirst());
        refused(more, "the plan names patch_embed.proj twice");
    }

    @Test
    void theOrderOfAPlanIsFree() {
        List<OperatorPlan> turned =
                QuantizationPlan.uniform(GAP, 8, 8, 8).operators().reversed();
        new QuantizationPlan(turned).check(GAP);
    }

    @ParameterizedTest
    @CsvSource({"1, 8", "11, 8", "8, 1", "8, 11", "8, 0", "32, 8", "8, 32", "-1, 8", "0, 1", "16, 16"})
    void widthsAreChecked(int weightBits, int activationBits) {
        assertThatIllegalArgumentException()
                .isThrownBy(() -> new OperatorPlan("head", weightBits, activationBits))
                .withMessage("head asks for " + weightBits + " weight bits and " + activationBits
                        + " activation bits; 2 to 10 are known, and 32 for both leaves it in float");
    }

    @Test
    void modulesGetTheirBits() {
        List<OperatorPlan> some =
                new ArrayList<>(QuantizationPlan.uniform(GAP, 4, 6, 8).operators());
        some.replaceAll(o -> o.operator().equals("blocks.1.mlp.fc1") ? new OperatorPlan(o.operator(), 32, 32) : o);
        QuantizationPlan plan =
                new QuantizationPlan(some).withModuleBits(Map.of("blocks.0.attn", 5, "blocks.1.mlp", 3));
        plan.check(GAP);
        assertThat(plan.operators())
                .extracting(OperatorPlan::operator)
                .containsExactlyElementsOf(QuantizationPlan.names(GAP));
        assertThat(plan.operator("blocks.0.attn.qkv")).isEqualTo(new OperatorPlan("blocks.0.attn.qkv", 5, 5));
        assertThat(plan.operator("blocks.0.attn.qk")).isEqualTo(new OperatorPlan("blocks.0.attn.qk", 0, 5));
        assertThat(plan.operator("blocks.0.attn.proj").weightBits()).isEqualTo(5);
        assertThat(plan.operator("blocks.0.mlp.fc1")).isEqualTo(new OperatorPlan("blocks.0.mlp.fc1", 4, 6));
        assertThat(plan.operator("blocks.1.mlp.fc2")).isEqualTo(new OperatorPlan("blocks.1.mlp.fc2", 3, 3));
        assertThat(plan.operator("blocks.1.mlp.fc1").isFloat())
                .as("excluded stays excluded")
                .isTrue();
        assertThat(plan.operator("head").weightBits()).isEqualTo(8);
    }
}
