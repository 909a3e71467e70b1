package dev.trivet.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.sun.source.doctree.DocCommentTree;
import com.sun.source.tree.ClassTree;
import com.sun.source.tree.CompilationUnitTree;
import com.sun.source.tree.LineMap;
import com.sun.source.tree.MethodTree;
import com.sun.source.tree.ModifiersTree;
import com.sun.source.tree.Tree;
import com.sun.source.tree.VariableTree;
import com.sun.source.util.DocTrees;
import com.sun.source.util.JavacTask;
import com.sun.source.util.TreePath;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import javax.lang.model.element.Modifier;
import javax.tools.JavaCompiler;
import javax.tools.StandardJavaFileManager;
import javax.tools.ToolProvider;
import org.junit.jupiter.api.Test;

/** What a library's user can see is documented: every public type and its public members, in every module below the command line. */
class DocumentedApiTest {
    private static final List<String> MODULES =
            List.of("trivet-core", "trivet-runtime", "trivet-ptq", "trivet-onnx", "trivet-onnxruntime", "trivet-train");

    @Test
    void everyPublicMemberHasAComment() throws IOException {
        List<Path> sources = new ArrayList<>();
        for (String module : MODULES) {
            try (Stream<Path> files = Files.walk(Path.of("..", module, "src", "main", "java"))) {
                files.filter(file -> file.toString().endsWith(".java")).forEach(sources::add);
            }
        }
        assertThat(sources).hasSizeGreaterThan(100);
        JavaCompiler compiler = ToolProvider.getSystemJavaCompiler();
        List<String> missing = new ArrayList<>();
        try (StandardJavaFileManager files = compiler.getStandardFileManager(null, null, null)) {
            JavacTask task = (JavacTask)
                    compiler.getTask(null, files, _ -> {}, null, null, files.getJavaFileObjectsFromPaths(sources));
            DocTrees comments = DocTrees.instance(task);
            for (CompilationUnitTree unit : task.parse()) {
                for (Tree type : unit.getTypeDecls()) {
                    if (type instanceof ClassTree c) {
                        check(c, false, new TreePath(new TreePath(unit), type), comments, missing);
                    }
                }
            }
        }
        assertThat(missing).isEmpty();
    }

    /** @param open whether members are public without saying so, as those of an interface are */
    private static void check(ClassTree type, boolean open, TreePath path, DocTrees comments, List<String> missing) {
        if (!isPublic(type.getModifiers(), open)) {
            return;
        }
        require(type.getSimpleName().toString(), path, comments, missing);
        boolean openMembers = type.getKind() == Tree.Kind.INTERFACE || type.getKind() == Tree.Kind.ANNOTATION_TYPE;
        for (Tree member : type.getMembers()) {
            TreePath inner = new TreePath(path, member);
            switch (member) {
                case ClassTree nested -> check(nested, openMembers, inner, comments, missing);
                case MethodTree method -> {
                    boolean inherited = method.getModifiers().getAnnotations().stream()
                            .anyMatch(a -> a.getAnnotationType().toString().equals("Override"));
                    if (isPublic(method.getModifiers(), openMembers) && !inherited) {
                        require(type.getSimpleName() + "." + method.getName(), inner, comments, missing);
                    }
                }
                case VariableTree field -> {
                    if (isPublic(field.getModifiers(), openMembers)) {
                        require(type.getSimpleName() + "." + field.getName(), inner, comments, missing);
                    }
                }
                default -> {}
            }
        }
    }

    private static boolean isPublic(ModifiersTree modifiers, boolean open) {
        return modifiers.getFlags().contains(Modifier.PUBLIC)
                || (open && !modifiers.getFlags().contains(Modifier.PRIVATE));
    }

    private static void require(String name, TreePath path, DocTrees comments, List<String> missing) {
        DocCommentTree comment = comments.getDocCommentTree(path);
        if (comment == null) {
            CompilationUnitTree unit = path.getCompilationUnit();
            LineMap lines = unit.getLineMap();
            long at = comments.getSourcePositions().getStartPosition(unit, path.getLeaf());
            missing.add(unit.getSourceFile().getName() + ":" + lines.getLineNumber(at) + " " + name);
        }
    }
}
