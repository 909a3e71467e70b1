package dev.trivet.cli;

import static com.tngtech.archunit.base.DescribedPredicate.not;
import static com.tngtech.archunit.core.domain.JavaClass.Predicates.resideInAnyPackage;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static com.tngtech.archunit.library.dependencies.SlicesRuleDefinition.slices;
import static org.assertj.core.api.Assertions.assertThat;

import com.tngtech.archunit.core.domain.JavaClass;
import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import com.tngtech.archunit.core.importer.ImportOption;
import com.tngtech.archunit.lang.ArchRule;
import java.util.Arrays;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/** Which part of Trivet may know which; the command line sees them all. */
class ArchitectureTest {
    private static final JavaClasses TRIVET = new ClassFileImporter()
            .withImportOption(ImportOption.Predefined.DO_NOT_INCLUDE_TESTS)
            .importPackages("dev.trivet");

    private static final String[] CORE = {
        "dev.trivet",
        "dev.trivet.tensor..",
        "dev.trivet.model..",
        "dev.trivet.image..",
        "dev.trivet.data..",
        "dev.trivet.quant..",
        "dev.trivet.format..",
        "dev.trivet.hub.."
    };
    private static final String[] RUNTIME = {"dev.trivet.kernel..", "dev.trivet.runtime.."};
    private static final String[] PTQ = {"dev.trivet.ptq.."};
    private static final String[] TRAIN = {"dev.trivet.train.."};
    private static final String[] ONNX = {"dev.trivet.onnx..", "dev.trivet.onnxruntime.."};
    private static final String[] CLI = {"dev.trivet.cli.."};

    private static String[] all(String[]... groups) {
        return Stream.of(groups).flatMap(Arrays::stream).toArray(String[]::new);
    }

    private static ArchRule forbidden(String[] users, String[] used) {
        return noClasses()
                .that()
                .resideInAnyPackage(users)
                .should()
                .dependOnClassesThat()
                .resideInAnyPackage(used)
                .allowEmptyShould(true); // a module may be left out of a build
    }

    @Test
    void seesEveryModule() {
        for (String[] part : new String[][] {CORE, RUNTIME, PTQ, ONNX, CLI}) {
            assertThat(TRIVET.that(resideInAnyPackage(part))).isNotEmpty();
        }
        // Every package belongs to a part: a new one has to be given its place above.
        assertThat(TRIVET.that(not(resideInAnyPackage(all(CORE, RUNTIME, PTQ, TRAIN, ONNX, CLI)))).stream()
                        .map(JavaClass::getName))
                .isEmpty();
    }

    @Test
    void coreKnowsNothingAboveIt() {
        forbidden(CORE, all(RUNTIME, PTQ, TRAIN, ONNX, CLI)).check(TRIVET);
    }

    @Test
    void runtimeKnowsOnlyCore() {
        forbidden(RUNTIME, all(PTQ, TRAIN, ONNX, CLI)).check(TRIVET);
    }

    @Test
    void quantizationKnowsNeitherTrainingNorTheCommandLine() {
        forbidden(PTQ, all(TRAIN, ONNX, CLI)).check(TRIVET);
    }

    @Test
    void trainingKnowsOnlyCore() {
        forbidden(TRAIN, all(RUNTIME, PTQ, ONNX, CLI)).check(TRIVET);
    }

    @Test
    void exportKnowsOnlyCore() {
        forbidden(ONNX, all(RUNTIME, PTQ, TRAIN, CLI)).check(TRIVET);
    }

    @Test
    void onlyExportTouchesProtobufAndOnlyItsRunnerOnnxRuntime() {
        String[] others = all(CORE, RUNTIME, PTQ, TRAIN, CLI);
        forbidden(others, new String[] {"com.google.protobuf..", "ai.onnx.."}).check(TRIVET);
        // The runner is not on the class path of most commands: it is found, not named.
        forbidden(
                        all(others, new String[] {"dev.trivet.onnx.."}),
                        new String[] {"ai.onnxruntime..", "dev.trivet.onnxruntime.."})
                .check(TRIVET);
    }

    @Test
    void nobodyKnowsTheCommandLine() {
        forbidden(all(CORE, RUNTIME, PTQ, TRAIN, ONNX), CLI).check(TRIVET);
    }

    @Test
    void onlyTrainingTouchesPyTorch() {
        forbidden(all(CORE, RUNTIME, PTQ, ONNX, CLI), new String[] {"org.bytedeco.pytorch.."})
                .check(TRIVET);
    }

    @Test
    void onlyKernelsAndQuantizationTouchTheVectorApi() {
        String[] vectors = {"jdk.incubator.vector.."};
        forbidden(all(CORE, new String[] {"dev.trivet.runtime.."}, CLI), vectors)
                .check(TRIVET);
        // What training rounds, it rounds in one class.
        noClasses()
                .that()
                .resideInAnyPackage(TRAIN)
                .and()
                .haveNameNotMatching(".*\\.CodeRounding(\\$.*)?")
                .should()
                .dependOnClassesThat()
                .resideInAnyPackage(vectors)
                .allowEmptyShould(true)
                .check(TRIVET);
    }

    @Test
    void packagesHaveNoCycles() {
        slices().matching("dev.trivet.(*)..").should().beFreeOfCycles().check(TRIVET);
    }

    @Test
    void kernelsDoNotKnowWhatRunsThem() {
        forbidden(new String[] {"dev.trivet.kernel.."}, new String[] {"dev.trivet.runtime.."})
                .check(TRIVET);
    }

    @Test
    void classesAreNamedForWhatTheyAre() {
        noClasses().should().haveNameMatching(".*(Manager|Impl|Utils?|Helper)").check(TRIVET);
    }
}
