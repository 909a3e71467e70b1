package dev.trivet.model;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class ImageNetClassesTest {
    @Test
    void thousandIdsInRisingOrder() {
        assertThat(ImageNetClasses.ids())
                .hasSize(ImageNetClasses.COUNT)
                .doesNotHaveDuplicates()
                .isSorted()
                .allMatch(id -> id.matches("n\\d{8}"));
    }

    /** Numbers that every published model agrees on. */
    @Test
    void namesStandAtTheirNumbers() {
        assertThat(ImageNetClasses.names()).hasSize(ImageNetClasses.COUNT).noneMatch(String::isBlank);
        assertThat(ImageNetClasses.ids().getFirst()).isEqualTo("n01440764");
        assertThat(ImageNetClasses.names().getFirst()).isEqualTo("tench, Tinca tinca");
        assertThat(ImageNetClasses.ids().get(207)).isEqualTo("n02099601");
        assertThat(ImageNetClasses.names().get(207)).isEqualTo("golden retriever");
        assertThat(ImageNetClasses.ids().getLast()).isEqualTo("n15075141");
    }
}
