package repo

import "testing"

func TestPublicURL(t *testing.T) {
	tests := []struct{ origin, want string }{
		{"", ""},
		{"https://example.com/shop.git", "https://example.com/shop.git"},
		{"https://token@example.com/shop.git", "https://example.com/shop.git"},
		{"https://ada:secret@example.com/shop.git", "https://example.com/shop.git"},
		{"ssh://git@example.com:22/shop.git", "ssh://git@example.com:22/shop.git"},
		{"ssh://git:secret@example.com/shop.git", "ssh://git@example.com/shop.git"},
		{"git@example.com:ada/shop.git", "git@example.com:ada/shop.git"},
		{"file:///srv/shop.git", "file:///srv/shop.git"},
		{"/srv/shop.git", "file:///srv/shop.git"},
		{"../shop.git", "file:///home/ada/shop.git"},
	}
	for _, tt := range tests {
		if got := publicURL(tt.origin, "/home/ada/work"); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.origin, got, tt.want)
		}
	}
}
