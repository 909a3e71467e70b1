package dev.trivet.data;

import dev.trivet.BadInputException;
import dev.trivet.image.ImageDecoder;
import dev.trivet.image.RgbImage;
import java.io.IOException;
import java.nio.file.DirectoryIteratorException;
import java.nio.file.DirectoryStream;
import java.nio.file.FileSystemLoopException;
import java.nio.file.FileVisitOption;
import java.nio.file.FileVisitResult;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.SimpleFileVisitor;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.EnumSet;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.stream.Collectors;

/**
 * JPEG and PNG files in folders: one folder per class, as torchvision's {@code ImageFolder} expects.
 *
 * <p>Classes are numbered in the order of their folder names; the images of a class, which may lie in further folders
 * below it, come in the order of their folder and then of their name. Files are known by their extension ({@code .jpg},
 * {@code .jpeg}, {@code .png}, in any case); hidden files and folders (names that begin with a dot) are left out. Links
 * are followed, loops are cut.
 *
 * <p>Immutable and safe to read from several threads; nothing but the list of paths is held in memory.
 */
public final class ImageFolder implements LabelledImages {
    /** Folders below the root that are looked into; deeper ones are a mistake. */
    private static final int MAX_DEPTH = 16;

    private static final Comparator<Path> BY_NAME = Comparator.comparing(ImageFolder::fileName);
    private static final String LAYOUT = "make one folder per class and put the images of the class in it";

    private final Path root;
    private final List<String> classNames;
    private final List<Path> paths;
    private final int[] labels;

    private ImageFolder(Path root, List<String> classNames, List<Path> paths, int[] labels) {
        this.root = root;
        this.classNames = List.copyOf(classNames);
        this.paths = List.copyOf(paths);
        this.labels = labels;
    }

    /**
     * Lists a folder of class folders.
     *
     * @throws BadInputException if it is not a folder, has no class folders, or a class folder has no images
     */
    public static ImageFolder open(Path root) {
        List<Path> classFolders = new ArrayList<>();
        boolean loose = false;
        for (Path child : children(root)) {
            if (Files.isDirectory(child)) {
                classFolders.add(child);
            } else {
                loose |= isImage(child);
            }
        }
        if (classFolders.isEmpty()) {
            throw new BadInputException(
                    root,
                    loose ? "holds images but no class folders" : "is empty: it holds neither class folders nor images",
                    LAYOUT);
        }
        classFolders.sort(BY_NAME);
        List<String> classNames = new ArrayList<>();
        List<String> without = new ArrayList<>();
        List<Path> paths = new ArrayList<>();
        List<Integer> labels = new ArrayList<>();
        for (Path folder : classFolders) {
            List<Path> images = imagesBelow(folder);
            if (images.isEmpty()) {
                without.add(fileName(folder));
            }
            for (Path image : images) {
                paths.add(image);
                labels.add(classNames.size());
            }
            classNames.add(fileName(folder));
        }
        if (!without.isEmpty()) {
            throw new BadInputException(
                    root,
                    classFolders(without) + (without.size() == 1 ? " holds" : " hold")
                            + " no .jpg, .jpeg or .png images",
                    "add images or remove the empty folders");
        }
        int[] labelArray = labels.stream().mapToInt(Integer::intValue).toArray();
        return new ImageFolder(root, classNames, paths, labelArray);
    }

    /**
     * Lists all images below a folder, whatever its layout, as one class named {@code unlabelled}; for calibration, where
     * labels do not matter.
     *
     * @throws BadInputException if it is not a folder or holds no images
     */
    public static ImageFolder unlabelled(Path root) {
        children(root); // for its messages
        List<Path> paths = imagesBelow(root);
        if (paths.isEmpty()) {
            throw new BadInputException(root, "holds no .jpg, .jpeg or .png images", "name a folder of images");
        }
        return new ImageFolder(root, List.of("unlabelled"), paths, new int[paths.size()]);
    }

    /**
     * The same images with labels that index {@code order}, a model's class names, of which this folder may have only some.
     *
     * @throws BadInputException if a class folder is not in {@code order}
     */
    public ImageFolder relabelled(List<String> order) {
        Map<String, Integer> position = new HashMap<>();
        for (int i = 0; i < order.size(); i++) {
            position.putIfAbsent(order.get(i), i);
        }
        List<String> unknown =
                classNames.stream().filter(c -> !position.containsKey(c)).toList();
        if (!unknown.isEmpty()) {
            throw new BadInputException(
                    root,
                    classFolders(unknown)
                            + (unknown.size() == 1 ? " is" : " are") + " not among the model's " + order.size()
                            + " classes",
                    "name the folders as the model names its classes" + example(order));
        }
        int[] renumbered = new int[labels.length];
        for (int i = 0; i < labels.length; i++) {
            renumbered[i] = Objects.requireNonNull(position.get(classNames.get(labels[i])));
        }
        return new ImageFolder(root, order, paths, renumbered);
    }

    @Override
    public int size() {
        return paths.size();
    }

    @Override
    public List<String> classNames() {
        return classNames;
    }

    @Override
    public int label(int index) {
        return labels[index];
    }

    @Override
    public String name(int index) {
        return path(index).toString();
    }

    /** File of image {@code index}. */
    public Path path(int index) {
        return paths.get(index);
    }

    @Override
    public RgbImage read(int index) {
        return ImageDecoder.decode(path(index));
    }

    private static String fileName(Path path) {
        Path name = path.getFileName();
        return name == null ? path.toString() : name.toString();
    }

    private static List<Path> children(Path root) {
        if (!Files.exists(root)) {
            throw new BadInputException(root, "does not exist", "check the path");
        }
        if (!Files.isDirectory(root)) {
            throw new BadInputException(root, "is a file, not a folder of images", "name the folder that holds it");
        }
        List<Path> children = new ArrayList<>();
        try (DirectoryStream<Path> stream = Files.newDirectoryStream(root)) {
            for (Path child : stream) {
                if (!isHidden(child)) {
                    children.add(child);
                }
            }
        } catch (DirectoryIteratorException e) {
            throw unreadable(root, Objects.requireNonNull(e.getCause()));
        } catch (IOException e) {
            throw unreadable(root, e);
        }
        return children;
    }

    private static List<Path> imagesBelow(Path folder) {
        List<Path> images = new ArrayList<>();
        Set<Object> seen = new HashSet<>();
        try {
            Files.walkFileTree(folder, EnumSet.of(FileVisitOption.FOLLOW_LINKS), MAX_DEPTH, new SimpleFileVisitor<>() {
                @Override
                public FileVisitResult preVisitDirectory(Path dir, BasicFileAttributes attributes) {
                    boolean skip = !dir.equals(folder) && isHidden(dir);
                    // A folder that two links lead to counts once; links into a parent would multiply it otherwise.
                    Object key = attributes.fileKey();
                    skip |= key != null && !seen.add(key);
                    return skip ? FileVisitResult.SKIP_SUBTREE : FileVisitResult.CONTINUE;
                }

                @Override
                public FileVisitResult visitFile(Path file, BasicFileAttributes attributes) {
                    // A broken link is kept, so that reading it names it.
                    if ((attributes.isRegularFile() || attributes.isSymbolicLink()) && isImage(file)) {
                        images.add(file);
                    }
                    return FileVisitResult.CONTINUE;
                }

                @Override
                public FileVisitResult visitFileFailed(Path file, IOException e) throws IOException {
                    if (e instanceof FileSystemLoopException) {
                        return FileVisitResult.CONTINUE;
                    }
                    throw unreadable(file, e); // not the folder that it is somewhere below
                }
            });
        } catch (IOException e) {
            throw unreadable(folder, e);
        }
        images.sort(
                Comparator.comparing((Path p) -> String.valueOf(p.getParent())).thenComparing(BY_NAME));
        return images;
    }

    private static boolean isHidden(Path path) {
        return fileName(path).startsWith(".");
    }

    private static boolean isImage(Path file) {
        String name = fileName(file).toLowerCase(Locale.ROOT);
        return !isHidden(file) && (name.endsWith(".jpg") || name.endsWith(".jpeg") || name.endsWith(".png"));
    }

    private static BadInputException unreadable(Path folder, IOException e) {
        return new BadInputException(
                folder, "cannot be listed (" + BadInputException.reason(e) + ")", "check its permissions", e);
    }

    private static String classFolders(List<String> names) {
        if (names.size() == 1) {
            return "class folder " + names.getFirst();
        }
        String shown = names.stream().limit(3).collect(Collectors.joining(", "));
        return names.size() + " class folders (" + shown + (names.size() > 3 ? ", ...)" : ")");
    }

    private static String example(List<String> order) {
        return order.isEmpty() ? "" : ", for example " + order.getFirst();
    }
}
